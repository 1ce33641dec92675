"""The pages that people see, at `/` and below `/dashboard`: made on the server, kept fresh by a little script."""

from flask import Flask

from testmesh.app.dashboard.actions import add_actions
from testmesh.app.dashboard.routes import add_pages, dashboard_blueprint
from testmesh.app.schemas import RequestModels
from testmesh.app.uploads import Doors
from testmesh.clock import Clock
from testmesh.node.service import NodeService
from testmesh.settings import Settings


def register_dashboard(
    app: Flask, node: NodeService, settings: Settings, models: RequestModels, doors: Doors, clock: Clock
) -> None:
    """`doors` are those through which the API lets submissions in."""
    blueprint = dashboard_blueprint(settings)
    add_pages(blueprint, node, settings, clock)
    add_actions(blueprint, node, settings, models, doors)
    app.register_blueprint(blueprint)
