"""The portfolio file. The only user of pydantic."""

from fabric.config.document import Mistake, PortfolioError
from fabric.config.portfolio import Portfolio, load, schema
from fabric.config.writing import written

__all__ = ["Mistake", "Portfolio", "PortfolioError", "load", "schema", "written"]
