"""The framed protocol between gateway and replica: both ends, plain asyncio."""
