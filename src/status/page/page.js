// The status page. What comes from requests is only ever set as text.
"use strict";
(() => {
  const STATUS_EVERY = 2000, HISTORY_EVERY = 5000, HIDDEN_EVERY = 30000;
  const SVG = "http://www.w3.org/2000/svg";
  const by = id => document.getElementById(id);
  let status = null, before = null, past = null, chosen = null, paused = false, failing = false;
  const states = new Map();

  // --- Words and numbers

  const units = (value, steps) => {
    for (const [least, divisor, unit] of steps) if (value >= least) return trim(value / divisor) + " " + unit;
    return "0";
  };
  const trim = value => value >= 100 ? value.toFixed(0) : value.toFixed(value >= 10 ? 1 : 2).replace(/\.?0+$/, "");
  const seconds = value => value === null || value === undefined ? "–" : value < 120
    ? units(value, [[1, 1, "s"], [1e-3, 1e-3, "ms"], [1e-9, 1e-6, "µs"]]) : age(value);
  const bytes = value => value === null || value === undefined ? "–"
    : units(value, [[2 ** 30, 2 ** 30, "GiB"], [2 ** 20, 2 ** 20, "MiB"], [1, 1024, "KiB"]]);
  const count = value => value === null || value === undefined ? "–" : trim(value);
  const age = value => {
    const s = Math.floor(value);
    if (s < 60) return s + " s";
    if (s < 3600) return Math.floor(s / 60) + " min";
    if (s < 86400) return Math.floor(s / 3600) + " h " + Math.floor(s % 3600 / 60) + " min";
    return Math.floor(s / 86400) + " d " + Math.floor(s % 86400 / 3600) + " h";
  };
  const sum = (list, of) => list.reduce((all, one) => all + (of(one) || 0), 0);
  const STATES = {
    serving: ["good", "● serving"], resting: ["", "○ at rest"], starting: ["warn", "◐ starting"],
    failed: ["bad", "✖ failed"], stopping: ["warn", "◌ stopping"], stopped: ["", "□ stopped"],
  };

  // --- Elements: kept where they are, so that focus and selection stay

  const element = (name, text, kind) => {
    const made = document.createElement(name);
    if (text !== undefined) made.textContent = text;
    if (kind) made.className = kind;
    return made;
  };
  const say = (where, text) => { if (where.textContent !== text) where.textContent = text; };
  const show = (where, is) => { if (where.hidden === is) where.hidden = !is; };
  // A row for each key, in this order; `fill` gets its cells.
  const rows = (body, keys, cells, fill) => {
    const known = new Map([...body.rows].map(row => [row.dataset.key, row]));
    keys.forEach((key, at) => {
      let row = known.get(key);
      known.delete(key);
      if (!row) {
        row = element("tr");
        row.dataset.key = key;
        for (let i = 0; i < cells; i++) row.append(element(i === 0 ? "th" : "td"));
        row.cells[0].scope = "row";
      }
      if (body.rows[at] !== row) body.insertBefore(row, body.rows[at] || null);
      fill(row.cells, at);
    });
    known.forEach(row => row.remove());
  };
  const cell = (where, text, kind) => {
    say(where, text);
    if (where.className !== (kind || "")) where.className = kind || "";
  };

  // --- The pools

  const live = pool => {
    const old = before && before.pools.find(other => other.name === pool.name);
    const passed = old ? status.time - before.time : 0;
    if (!(passed > 0)) return { rate: null, failed: null };
    const rate = (now, then) => Math.max(0, (now || 0) - (then || 0)) / passed;
    return {
      rate: rate(pool.totals.requests, old.totals.requests),
      failed: rate(pool.totals.responses["5xx"], old.totals.responses["5xx"]),
    };
  };
  const latest = (pool, of) => {
    const list = past && past.pools[pool.name] && past.pools[pool.name].minutes[of];
    const there = (list || []).slice(-6).filter(value => value !== null);
    return there.length ? there[there.length - 1] : null;
  };
  const busy = pool => {
    const threads = pool.workers.filter(worker => worker.phase === "serving").flatMap(worker => worker.threads);
    return [threads.filter(thread => thread.request).length, threads.length];
  };

  const drawPools = () => rows(by("pools").tBodies[0], status.pools.map(pool => pool.name), 12, (cells, at) => {
    const pool = status.pools[at], now = live(pool), [running, threads] = busy(pool);
    let button = cells[0].firstElementChild;
    if (!button) {
      button = element("button", pool.name);
      button.type = "button";
      button.addEventListener("click", () => choose(pool.name));
      cells[0].append(button);
    }
    button.setAttribute("aria-pressed", String(pool.name === chosen));
    const [kind, name] = STATES[pool.state] || ["", pool.state];
    cell(cells[1], name + (pool.reloading ? ", reloading" : ""), kind);
    cell(cells[2], count(now.rate), "n");
    cell(cells[3], count(now.failed), now.failed ? "n bad" : "n");
    ["p50", "p90", "p99"].forEach((of, i) => cell(cells[4 + i], seconds(latest(pool, of)), "n"));
    let meter = cells[7].querySelector("meter");
    if (!meter) {
      meter = element("meter");
      cells[7].append(meter, element("span"));
    }
    meter.max = Math.max(1, threads); meter.high = Math.max(1, threads) * .8; meter.optimum = 0; meter.value = running;
    meter.setAttribute("aria-label", "busy threads of " + pool.name);
    say(cells[7].lastElementChild, " " + running + " of " + threads);
    const queue = sum(pool.listeners, listener => listener.waiting) + pool.kept.waiting;
    cell(cells[8], String(queue), queue ? "n warn" : "n");
    const serving = pool.workers.filter(worker => worker.phase === "serving").length;
    cell(cells[9], serving + (pool.size.least === pool.size.most ? "" : " of " + pool.size.least + "–" + pool.size.most), "n");
    cell(cells[10], bytes(sum(pool.workers, worker => worker.memory) || null), "n");
    const died = (pool.totals.replaced.died || 0) + (pool.totals.replaced.stuck || 0);
    const all = sum(Object.values(pool.totals.replaced), number => number);
    cell(cells[11], all + (died ? " (" + died + " ill)" : ""), died ? "n warn" : "n");
  });

  const choose = name => {
    chosen = name;
    try { history.replaceState(null, "", "#" + encodeURIComponent(name)); } catch { /* it is only a mark */ }
    draw();
  };

  // What changed, for whoever does not see colours.
  const news = () => {
    const said = [];
    for (const pool of status.pools) {
      const old = states.get(pool.name);
      if (old && old !== pool.state) said.push(pool.name + " is " + (STATES[pool.state] || ["", pool.state])[1].replace(/^\S+ /, ""));
      states.set(pool.name, pool.state);
    }
    if (said.length) say(by("news"), new Date().toLocaleTimeString() + ": " + said.join(", "));
  };

  // --- One pool

  const drawPool = () => {
    const pool = status.pools.find(pool => pool.name === chosen);
    show(by("pool"), !!pool);
    if (!pool) return;
    say(by("pool-title"), pool.name + ": " + pool.app + ", generation " + pool.generation);
    const unreachable = pool.listeners.map(listener => listener.unreachable).filter(Boolean);
    show(by("unreachable"), unreachable.length > 0);
    say(by("unreachable"), unreachable.join("; "));
    show(by("failure"), !!pool.failure);
    show(by("traceback"), !!(pool.failure && pool.failure.detail));
    if (pool.failure) {
      say(by("failure"), "The last start failed " + age(pool.failure.age) + " ago: " + pool.failure.reason);
      say(by("traceback"), pool.failure.detail);
    }
    const list = pool.workers.flatMap(worker => worker.threads.length
      ? worker.threads.map((thread, i) => ({ worker, thread, first: i === 0 })) : [{ worker, thread: null, first: true }]);
    rows(by("threads").tBodies[0], list.map(({ worker, thread }) => worker.pid + "." + (thread ? thread.number : "")), 8, (cells, at) => {
      const { worker, thread, first } = list[at], request = thread && thread.request;
      cell(cells[0], String(worker.pid));
      cell(cells[1], first ? worker.phase : "", worker.phase === "serving" ? "" : "warn");
      cell(cells[2], first ? age(worker.age) : "", "n");
      cell(cells[3], first ? bytes(worker.memory) : "", "n");
      cell(cells[4], thread ? String(thread.number) : "", "n");
      cell(cells[5], thread ? String(thread.requests) : "", "n");
      cell(cells[6], request ? seconds(request.runs) : "", request && request.runs > 1 ? "n warn" : "n");
      cell(cells[7], request ? request.line : "");
    });
    drawCharts(pool);
    drawSlow(pool);
  };

  // What it was and where it was, from the log's text or JSON.
  const told = slow => {
    if (slow.text.startsWith("{")) {
      try {
        const { fields = {}, ...event } = JSON.parse(slow.text), all = { ...event, ...fields };
        return [all.request || slow.request, String(all.stack || slow.text)];
      } catch { /* it was too long */ }
    }
    const [first, ...rest] = slow.text.split("\n");
    const named = first.match(/request="([^"]*)"/) || first.match(/request=(\S+)/);
    return [named ? named[1] : first, rest.length ? rest.map(line => line.replace(/^ {4}/, "")).join("\n") : first];
  };

  const drawSlow = pool => {
    const list = (past && past.slow && past.slow[pool.name]) || [], where = by("slow");
    if (!list.length) {
      if (where.dataset.none) return;
      where.replaceChildren(element("p", "None that the log has told of since this program was started. A request is slow if it takes longer than slow_request, where that is set.", "aside"));
      where.dataset.none = "1";
      return;
    }
    if (where.dataset.none) { where.replaceChildren(); delete where.dataset.none; }
    const known = new Map([...where.children].map(child => [child.dataset.key, child]));
    list.slice().reverse().forEach((slow, at) => {
      const key = pool.name + slow.time + slow.request, [line, text] = told(slow);
      let details = known.get(key);
      known.delete(key);
      if (!details) {
        details = element("details");
        details.dataset.key = key;
        const stack = element("pre", text);
        stack.tabIndex = 0;
        stack.setAttribute("aria-label", "Python stack of " + line);
        details.append(element("summary", new Date(slow.time * 1000).toLocaleTimeString() + "  " + line), stack);
      }
      if (where.children[at] !== details) where.insertBefore(details, where.children[at] || null);
    });
    known.forEach(child => child.remove());
  };

  // --- Charts

  const CHARTS = [
    ["Requests/s", [["rate", "all"], ["failed", "5xx"]], count],
    ["Time per request", [["p50", "p50"], ["p90", "p90"], ["p99", "p99"]], seconds],
    ["Busy threads", [["busy", "busy"], ["threads", "of"]], count],
    ["Memory", [["memory", "all workers"]], bytes],
  ];
  const WIDTH = 420, HEIGHT = 130, LEFT = 52, BOTTOM = 18, TOP = 8;
  const shape = (name, attributes, text) => {
    const made = document.createElementNS(SVG, name);
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    if (text !== undefined) made.textContent = text;
    return made;
  };
  const top = (most, word) => {
    if (!(most > 0)) return 1;
    // Half of it is a round number, too.
    if (word === bytes) return 2 ** Math.ceil(Math.log2(most));
    const power = 10 ** Math.floor(Math.log10(most));
    return [1, 2, 5, 10].find(step => step * power >= most) * power;
  };
  const drawCharts = pool => {
    const span = document.querySelector("input[name=span]:checked").value;
    const points = past && past.pools[pool.name] ? past.pools[pool.name][span] : null;
    const where = by("charts"), length = span === "day" ? 288 : 120;
    CHARTS.forEach(([title, series, word], at) => {
      let figure = where.children[at];
      if (!figure) {
        figure = element("figure");
        const caption = element("figcaption");
        caption.append(element("b", title), element("span"));
        figure.append(caption, shape("svg", { viewBox: "0 0 " + WIDTH + " " + HEIGHT, role: "img" }));
        where.append(figure);
      }
      const lists = series.map(([key]) => points ? points[key] : []);
      const there = lists.map(list => list.filter(value => value !== null));
      const most = Math.max(0, ...there.flat());
      const summary = series.map(([, name], i) => there[i].length
        ? name + " " + word(there[i][there[i].length - 1]) + " now, " + word(Math.max(...there[i])) + " at most" : name + " –").join("; ");
      const caption = figure.querySelector("span"), svg = figure.querySelector("svg");
      if (caption.textContent === summary && svg.dataset.span === span + pool.name + (points ? past.time : "")) return;
      svg.dataset.span = span + pool.name + (points ? past.time : "");
      say(caption, summary);
      svg.setAttribute("aria-label", title + " in " + pool.name + ", last " + (span === "day" ? "day" : "10 minutes") + ": " + summary);
      const end = top(most, word), y = value => TOP + (HEIGHT - TOP - BOTTOM) * (1 - value / end);
      const x = i => LEFT + (WIDTH - LEFT - 4) * i / (length - 1);
      const drawn = [];
      for (const part of [0, .5, 1]) {
        drawn.push(shape("line", { class: "grid", x1: LEFT, x2: WIDTH - 4, y1: y(end * part), y2: y(end * part) }));
        drawn.push(shape("text", { x: LEFT - 6, y: y(end * part) + 4, "text-anchor": "end" }, word(end * part)));
      }
      const times = span === "day" ? ["−24 h", "−12 h", "now"] : ["−10 min", "−5 min", "now"];
      times.forEach((text, i) => drawn.push(shape("text", {
        x: x((length - 1) * i / 2), y: HEIGHT - 4, "text-anchor": ["start", "middle", "end"][i] }, text)));
      lists.forEach((list, i) => {
        let path = "", area = "", open = null;
        const close = end => { if (open !== null) area += "L" + end + " " + y(0) + "L" + open + " " + y(0) + "Z"; open = null; };
        list.forEach((value, at) => {
          const across = x(length - list.length + at).toFixed(1);
          if (value === null) { close(x(length - list.length + at - 1).toFixed(1)); return; }
          const up = y(Math.min(value, end)).toFixed(1);
          path += (open === null ? "M" : "L") + across + " " + up;
          area += (open === null ? "M" : "L") + across + " " + up;
          if (open === null) open = across;
        });
        close(x(length - 1).toFixed(1));
        if (i === 0 && series.length < 3) drawn.push(shape("path", { class: "area", d: area }));
        drawn.push(shape("path", { class: "s" + i, d: path }));
      });
      svg.replaceChildren(...drawn);
    });
  };

  // --- Asking

  const draw = () => {
    if (!status) return;
    const instance = status.instance;
    document.title = (status.pools.some(pool => pool.state === "failed") ? "✖ " : "") + "wsgi-fpm";
    say(by("version"), instance.version);
    say(by("instance"), [instance.file, "pid " + instance.pid, "up " + age(instance.uptime),
      instance.memory ? "supervisor " + bytes(instance.memory) : "", instance.stopping ? "stopping" : "",
      "as of " + new Date(status.time * 1000).toLocaleTimeString()].filter(Boolean).join(" · "));
    if (!status.pools.some(pool => pool.name === chosen)) {
      let wanted = location.hash.slice(1);
      try { wanted = decodeURIComponent(wanted); } catch { /* no name is written so */ }
      chosen = (status.pools.find(pool => pool.name === wanted) || status.pools[0] || { name: null }).name;
    }
    drawPools();
    drawPool();
    news();
  };
  const get = async path => {
    const answer = await fetch(path, { cache: "no-store", signal: AbortSignal.timeout(10000) });
    if (!answer.ok) throw new Error(answer.status + " " + (await answer.text()).trim());
    return answer.json();
  };
  // Each asks again after a while, and at once when somebody looks again.
  const timers = new Map();
  const later = (question, every) => {
    clearTimeout(timers.get(question));
    timers.set(question, setTimeout(question, document.hidden ? HIDDEN_EVERY : every));
  };
  const ask = async () => {
    if (!paused) {
      try {
        const now = await get("status.json");
        if (status && status.instance.version !== now.instance.version) return location.reload();
        if (now.schema !== 1) throw new Error("this page knows schema 1, not " + now.schema + ": load it anew");
        before = status; status = now; failing = false;
        show(by("trouble"), false);
        draw();
      } catch (error) {
        if (!failing) say(by("trouble"), "No answer since " + new Date().toLocaleTimeString() + " (" + error.message + "). Asking again; what is below is as it was then.");
        failing = true;
        show(by("trouble"), true);
      }
    }
    later(ask, STATUS_EVERY);
  };
  const look = async () => {
    if (!paused) {
      // Where there is no answer, the other question has said so.
      try { past = await get("history.json"); draw(); } catch { /* as above */ }
    }
    later(look, HISTORY_EVERY);
  };
  by("pause").addEventListener("click", () => {
    paused = !paused;
    by("pause").setAttribute("aria-pressed", String(paused));
  });
  document.querySelectorAll("input[name=span]").forEach(input => input.addEventListener("change", draw));
  document.addEventListener("visibilitychange", () => { if (!document.hidden) [look, ask].forEach(question => later(question, 0)); });
  addEventListener("hashchange", () => { chosen = null; draw(); });
  look();
  ask();
})();
