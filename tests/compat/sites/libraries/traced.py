"""Spans of OpenTelemetry, which a thread of each worker exports: appended to the file SPANS, a line each.

START: at the "import", as most recipes have it, or at the first "request" of each worker, as docs/metrics.md has it.
"""

import os
import threading

from opentelemetry import trace
from opentelemetry.instrumentation.wsgi import OpenTelemetryMiddleware
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult


class Exporter(SpanExporter):
    def export(self, spans):
        with open(os.environ["SPANS"], "a") as file:
            for span in spans:
                file.write("%d %032x %016x\n" % (os.getpid(), span.context.trace_id, span.context.span_id))
        return SpanExportResult.SUCCESS


class Traced:
    """Spans of each request. The exporter's thread is started by the first request of a worker: a fork would end it."""

    def __init__(self, application):
        self.application = OpenTelemetryMiddleware(application)
        self.lock = threading.Lock()
        self.is_started = False

    def start(self):
        with self.lock:
            if not self.is_started:
                provider = TracerProvider()
                provider.add_span_processor(BatchSpanProcessor(Exporter(), schedule_delay_millis=100))
                trace.set_tracer_provider(provider)
                self.is_started = True

    def __call__(self, environ, start_response):
        if not self.is_started:
            self.start()
        return self.application(environ, start_response)


def hello(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"%d" % os.getpid()]


application = Traced(hello)
if os.environ["START"] == "import":
    application.start()
