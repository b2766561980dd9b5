"""A VNC viewer of somebody else (libgvnc, which virt-viewer and GNOME's viewers use) before the installer's screen.

usage: viewer.py PORT; the password comes on the standard input. It logs in by VNC authentication (for VeNCrypt it wants a
certificate of an authority), waits for the main screen, presses the arrow down, waits for what that changes, and prints
the picture's text.
"""

import ctypes
import os
import sys

PORT, PASSWORD = sys.argv[1], sys.stdin.readline().strip()
VNC_AUTHENTICATION, HEXTILE, RAW, DOWN = 2, 5, 0, 0xFF54

import gi

gi.require_version("GVnc", "1.0")
from gi.repository import GLib, GVnc  # noqa: E402, after the version

library = ctypes.CDLL("libgvnc-1.0.so.0")
pointer, short = ctypes.c_void_p, ctypes.c_uint16
library.vnc_connection_get_pixel_format.argtypes = [pointer]
library.vnc_connection_get_pixel_format.restype = pointer
library.vnc_base_framebuffer_new.argtypes = [pointer, short, short, ctypes.c_int, pointer, pointer]
library.vnc_base_framebuffer_new.restype = pointer
library.vnc_connection_set_framebuffer.argtypes = [pointer, pointer]

loop = GLib.MainLoop()
connection = GVnc.Connection()
picture = {}


def text():
    """Reads the font of the test: bit n of a character is the first pixel of line n of its glyph."""
    width, height, pixels = picture["width"], picture["height"], memoryview(picture["buffer"]).cast("B").cast("I")
    lines = []
    for top in range(0, height, 16):
        line = ""
        for left in range(0, width, 8):
            ground = pixels[(top + 15) * width + left]
            bits = (pixels[(top + bit) * width + left] != ground for bit in range(8))
            line += chr(max(32, sum(1 << bit for bit, is_set in enumerate(bits) if is_set)))
        lines.append(line.rstrip())
    return "\n".join(lines)


def fail(why):
    print(f"failed: {why}", file=sys.stderr)
    os._exit(1)


def credential(_, _wanted):
    connection.set_credential(GVnc.ConnectionCredential.PASSWORD, PASSWORD)


def initialized(_):
    width, height = connection.get_width(), connection.get_height()
    picture.update(width=width, height=height, buffer=(ctypes.c_uint8 * (width * height * 4))())
    own = hash(connection)
    form = library.vnc_connection_get_pixel_format(own)
    frame = library.vnc_base_framebuffer_new(
        ctypes.addressof(picture["buffer"]), width, height, width * 4, form, form
    )
    library.vnc_connection_set_framebuffer(own, frame)
    connection.set_encodings([HEXTILE, RAW])
    connection.framebuffer_update_request(False, 0, 0, width, height)


def updated(_, _x, _y, _width, _height):
    seen = text()
    if "> INSTALLATION DESTINATION" in seen:
        print(seen)
        sys.stdout.flush()
        os._exit(0)
    if "> SOFTWARE SELECTION" in seen and "pressed" not in picture:
        picture["pressed"] = True
        connection.key_event(True, DOWN, 0)
        connection.key_event(False, DOWN, 0)
    connection.framebuffer_update_request(True, 0, 0, picture["width"], picture["height"])


connection.connect("vnc-auth-choose-type", lambda _, kinds: connection.set_auth_type(VNC_AUTHENTICATION))
connection.connect("vnc-auth-credential", credential)
connection.connect("vnc-auth-failure", lambda _, why: fail(why))
connection.connect("vnc-auth-unsupported", lambda _, kind: fail(f"kind {kind} of security is not supported"))
connection.connect("vnc-error", lambda _, why: fail(why))
connection.connect("vnc-initialized", initialized)
connection.connect("vnc-framebuffer-update", updated)
connection.connect("vnc-disconnected", lambda _: fail("disconnected"))
GLib.timeout_add_seconds(60, lambda: fail("it took too long"))
connection.open_host("127.0.0.1", PORT)
loop.run()
