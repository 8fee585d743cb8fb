"""Subjects on which this service publishes. The comments of the messages say when."""

from __future__ import annotations

from chassis.channels import Channel
from repruv.demo.v1 import demo_events_pb2, exports_service_pb2

DEMO = Channel("demo.events.{owner_id}", demo_events_pb2.DemoEvent)
EXPORTS = Channel("demo.events.exports.{owner_id}", exports_service_pb2.ExportEvent)
CHANNELS = (DEMO, EXPORTS)
