"""What a visitor does on the page, for the tests in a browser."""

import json
import os
from importlib.util import find_spec
from pathlib import Path

from live import settled
from PIL import Image, ImageDraw, ImageFont
from playwright.sync_api import expect

BUS = Path(find_spec("ultralytics").origin).parent / "assets/bus.jpg"


def rewrite(page, row: int, text: str) -> None:
    """Another text for the finding in that row of the table."""
    settled(page)
    cell = page.locator(f".lav2-table [data-testid=cell-{row}-2]:visible")
    cell.click()
    settled(page)  # a row that is chosen is drawn in the photo
    cell.press("Enter")
    box = page.locator(".lav2-table textarea:visible, .lav2-table input[type=text]:visible").first
    box.fill(text)
    expect(box).to_have_value(text)
    page.keyboard.press("Enter")
    expect(cell).to_contain_text(text)


def untick(page, box) -> None:
    """Switches a finding off, and sees that it stays off."""
    settled(page)
    box.click()
    settled(page)
    expect(box).not_to_be_checked()


def exact_prompt(page) -> str:
    settled(page)
    page.get_by_role("button", name="Exact prompt").first.click()
    settled(page)
    box = page.locator("textarea[disabled]:visible").last
    expect(box).not_to_have_value("")
    return box.input_value()


def notice(page):
    return page.locator(".lav2-notice:visible").first


def downloaded(page, folder) -> dict:
    settled(page)
    with page.expect_download() as download:
        page.locator(".lav2-receipt:visible").click()
    download.value.save_as(folder / "receipt.json")
    return json.loads((folder / "receipt.json").read_text())


def paper(lines, size: int, file: Path) -> Path:
    """A picture of lines of text, `size` px high, that no server has seen: one it remembers takes no time."""
    picture = Image.new("RGB", (20 * size, 40 + int(1.6 * size) * len(lines)), "white")
    for pixel in range(8):
        picture.putpixel((pixel, 0), (*os.urandom(2), 255))
    for row, line in enumerate(lines):
        place = (size // 2, 20 + int(1.6 * size) * row)
        ImageDraw.Draw(picture).text(place, line, "black", ImageFont.load_default(size))
    picture.save(file)
    return file
