/** Asks libvirt's C library itself: domains with key, type and value of every parameter, in libvirt's order. */
export const REFERENCE = `
import ctypes, json, os, sys

class Value(ctypes.Union):
    _fields_ = [("i", ctypes.c_int), ("ui", ctypes.c_uint), ("l", ctypes.c_longlong), ("ul", ctypes.c_ulonglong),
                ("d", ctypes.c_double), ("b", ctypes.c_char), ("s", ctypes.c_char_p)]

class Parameter(ctypes.Structure):
    _fields_ = [("field", ctypes.c_char * 80), ("type", ctypes.c_int), ("value", Value)]

class Record(ctypes.Structure):
    _fields_ = [("dom", ctypes.c_void_p), ("params", ctypes.POINTER(Parameter)), ("nparams", ctypes.c_int)]

lib = ctypes.CDLL("libvirt.so.0")
lib.virConnectOpenReadOnly.restype = ctypes.c_void_p
lib.virDomainGetName.restype = ctypes.c_char_p
connection = ctypes.c_void_p(lib.virConnectOpenReadOnly(os.environ["LIBVIRT_URI"].encode()))

def value(parameter):
    kind, v = parameter.type, parameter.value
    if kind == 5: return v.d
    if kind == 6: return v.b != b"\\0"
    if kind == 7: return v.s.decode()
    return str({1: v.i, 2: v.ui, 3: v.l, 4: v.ul}[kind])

results = []
for call in json.loads(sys.argv[1]):
    records = ctypes.POINTER(ctypes.POINTER(Record))()
    count = lib.virConnectGetAllDomainStats(connection, ctypes.c_uint(call[0]), ctypes.byref(records), ctypes.c_uint(call[1]))
    assert count >= 0
    result = {}
    for i in range(count):
        record = records[i].contents
        name = lib.virDomainGetName(ctypes.c_void_p(record.dom)).decode()
        result[name] = [[p.field.decode(), p.type, value(p)] for p in record.params[:record.nparams]]
    results.append(result)
print(json.dumps(results))
`;

/** What Python's own binding says to the same. */
export const BINDING = `
import json, libvirt, os
connection = libvirt.openReadOnly(os.environ["LIBVIRT_URI"])
print(json.dumps({domain.name(): [[key, str(value)] for key, value in record.items()] for domain, record in connection.getAllDomainStats()}))
`;

/** What REFERENCE prints for one call: by domain, its parameters. */
export type Reference = Record<string, [key: string, type: number, value: string | number | boolean][]>;
