"""Answers questions about kickstart with pykickstart: a JSON object a line in, a JSON object a line out."""

import contextlib
import importlib.machinery
import importlib.util
import io
import json
import os
import shlex
import sys
import tempfile
import warnings

from pykickstart.errors import KickstartDeprecationWarning, KickstartParseWarning
from pykickstart.parser import KickstartParser
from pykickstart.version import makeVersion, versionMap

INTERNAL = {
    "bootloader", "conflictingCommands", "currentCmd", "currentLine", "exclusive_required_options", "handler", "lineno",
    "op", "seen", "writePriority", "urlRequired", "deleteRemovedAttrs", "removedAttrs", "removedKeywords",
}
HANDLERS = {}


def handler_for(version):
    if version not in HANDLERS:
        HANDLERS[version] = makeVersion(versionMap[version])
    return HANDLERS[version]


def plain(value):
    """The value as JSON can say it; None where it cannot."""
    if isinstance(value, (str, int, bool, type(None))):
        return value
    if isinstance(value, (list, tuple)):
        return [plain(each) for each in value]
    return None


def attributes(obj):
    found = {}
    for name, value in vars(obj).items():
        if name in INTERNAL or isinstance(value, dict):
            continue
        if isinstance(value, list) and value and not isinstance(value[0], (str, tuple)):
            continue
        found[name] = plain(value)
    return found


def described(question):
    """Commands of a version with what they take, for making lines of them."""
    commands = {}
    for name, command in handler_for(question["version"]).commands.items():
        if command is None:
            continue
        actions = []
        for action in getattr(getattr(command, "op", None), "_actions", []):
            actions.append({
                "names": action.option_strings,
                "dest": action.dest,
                "nargs": action.nargs if action.nargs is None else str(action.nargs),
                "const": plain(action.const),
                "default": plain(action.default),
                "type": getattr(action.type, "__name__", None),
                "choices": list(action.choices) if action.choices else None,
                "required": bool(action.option_strings) and action.required,
                "list": type(action).__name__ in ("ExtendAction", "_AppendAction"),
            })
        bases = [base.__name__ for base in type(command).__mro__]
        commands[name] = {
            "actions": actions,
            "deprecated": "DeprecatedCommand" in bases and "RemovedCommand" not in bases,
            "removed": "RemovedCommand" in bases,
        }
    return {"commands": commands}


def fresh(handler, word):
    """A command object, and an object for its data where it has one, that nothing was said to yet."""
    command = type(handler.commands[word])()
    command.handler = handler
    data = command.dataClass
    return attributes(data() if data else command)


def asked_line(question):
    """Reads one line as a whole file would be."""
    handler = handler_for(question["version"])
    text = question["text"]
    word = question["word"]
    answer = {"accepted": False, "deprecation": False}
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            if word in handler.commands:
                handler.resetCommand(word)
            args = shlex.split(text + "\n", comments=True)
            handler.currentLine = text + "\n"
            obj = handler.dispatcher(args, 1)
            answer["accepted"] = True
            if obj is not None:
                answer["attributes"] = attributes(obj)
            answer["fresh"] = fresh(handler, word)
        except Exception as error:  # whatever it raises, the line is refused
            answer["error"] = str(error)
    for command in handler.commands.values():
        if command is not None:
            command.seen = False
    for warning in caught:
        if issubclass(warning.category, KickstartDeprecationWarning):
            answer["deprecation"] = True
        elif issubclass(warning.category, KickstartParseWarning):
            answer["accepted"] = False
            answer["error"] = str(warning.message)
    return answer


def asked_file(question):
    """Reads a whole file, and tells what its sections say."""
    handler = makeVersion(versionMap[question["version"]])
    answer = {"accepted": False}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warnings.filterwarnings("error", category=KickstartParseWarning)
        warnings.filterwarnings("ignore", category=KickstartDeprecationWarning)
        try:
            KickstartParser(handler, followIncludes=False).readKickstartFromString(question["text"])
        except Exception as error:
            answer["error"] = str(error)
            return answer
    packages = handler.packages
    return {
        "accepted": True,
        "scripts": [
            {"type": s.type, "interp": s.interp, "log": s.logfile, "fail": s.errorOnFail, "chroot": s.inChroot,
             "body": s.script}
            for s in handler.scripts
        ],
        "certificates": [
            {"cert": c.cert, "filename": c.filename, "dir": c.dir, "type": c.type} for c in handler.certificates
        ],
        "packages": {
            "environment": packages.environment,
            "groups": [[g.name, g.include] for g in packages.groupList],
            "excluded_groups": [g.name for g in packages.excludedGroupList],
            "packages": packages.packageList,
            "excluded": packages.excludedList,
            "excludedocs": packages.excludeDocs,
            "timeout": packages.timeout,
            "inst_langs": packages.instLangs,
            "weak": packages.excludeWeakdeps,
        },
    }


def validator():
    """The main function of the program ksvalidator."""
    path = os.path.join(os.path.dirname(sys.executable), "ksvalidator")
    loader = importlib.machinery.SourceFileLoader("ksvalidator", path)
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader("ksvalidator", loader))
    loader.exec_module(module)
    return module.main


def asked_validator(question):
    """What `ksvalidator -v VERSION FILE` says."""
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "ks.cfg")
        with open(path, "w", encoding="utf-8", newline="") as file:
            file.write(question["text"])
        said = io.StringIO()
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said), warnings.catch_warnings():
            warnings.filterwarnings("ignore", category=KickstartDeprecationWarning)
            result, messages = validator()(["-v", question["version"], path])
    return {"accepted": result == 0, "error": said.getvalue() + "\n".join(messages)}


ANSWERS = {"describe": described, "line": asked_line, "file": asked_file, "validate": asked_validator}

for request in sys.stdin:
    request = json.loads(request)
    print(json.dumps(ANSWERS[request["ask"]](request)), flush=True)
