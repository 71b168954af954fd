// What a search puts first: options by their names, then headings, then text. Sphinx's own order has options below text.
var Scorer = {
  objNameMatch: 400,
  objPartialMatch: 300,
  objPrio: { 0: 15, 1: 5, 2: -5 },
  objPrioDefault: 0,
  title: 15,
  partialTitle: 7,
  term: 5,
  partialTerm: 2,
};
