"""The portfolio file. The only user of pydantic."""

from fabric.config.document import Mistake, PortfolioError
from fabric.config.portfolio import Portfolio, load, schema

__all__ = ["Mistake", "Portfolio", "PortfolioError", "load", "schema"]
