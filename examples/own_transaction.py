# own_transaction.py: a change of your data and its job are one commit, and so are a job's effect and its completion
import asyncio
import sqlite3

from mainspring import App, Context

app = App("sqlite:///own_transaction.db")  # the same program runs on PostgreSQL, with its URL and asyncpg's connection


@app.task(name="ship")
async def ship(order: int) -> str:
    return f"order {order} is shipped"


@app.task(name="pay", transaction=True)
async def pay(ctx: Context, order: int, cents: int) -> None:
    """Runs inside a transaction: the worker commits its writes, its completion and the next job, or none of them."""
    await ctx.connection.execute("UPDATE orders SET paid = paid + $1 WHERE id = $2", cents, order)
    await ship.enqueue(order)
    if cents > 5000:
        raise ValueError("too much for one order")


def place(db: sqlite3.Connection, order: int, cents: int, *, sure: bool = True) -> None:
    """Stores an order and the job that works on it, in one transaction of your own."""
    db.execute("INSERT INTO orders VALUES (?, 0)", (order,))
    pay.options(tx=db).sync.enqueue(order, cents)
    if sure:
        db.commit()
    else:
        db.rollback()


async def main() -> None:
    async with app.running():
        db = sqlite3.connect("own_transaction.db")
        db.execute("CREATE TABLE orders (id INTEGER PRIMARY KEY, paid INTEGER)")
        place(db, 1, 1999)
        place(db, 2, 9999)  # its payment fails: neither money nor parcel moves
        place(db, 3, 2999, sure=False)  # it was never there, and neither was its job
        await app.idle()
        for order, paid in db.execute("SELECT id, paid FROM orders ORDER BY id"):
            print(f"order {order}: {paid} cents")
        db.close()
        for count in await app.jobs.counts():
            print(f"{count.task} {count.state}: {count.number}")


if __name__ == "__main__":
    asyncio.run(main())
