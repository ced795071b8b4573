import Foundation

/// A data folder on disk that is removed when the test ends.
final class TemporaryFolder {
    let path: String

    init(_ files: [String: [UInt8]] = [:]) throws {
        path = FileManager.default.temporaryDirectory.appending(path: "attune-\(UUID().uuidString)").path
        try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true)
        for (name, bytes) in files { try write(name, bytes) }
    }

    deinit {
        // Nothing to tell anyone when the system has removed it already.
        do { try FileManager.default.removeItem(atPath: path) } catch {}
    }

    func write(_ name: String, _ bytes: [UInt8]) throws {
        try Data(bytes).write(to: URL(filePath: path + "/" + name))
    }

    func write(_ name: String, _ text: String) throws { try write(name, Array(text.utf8)) }

    func remove(_ name: String) throws { try FileManager.default.removeItem(atPath: path + "/" + name) }
}

/// The bytes of a version 1.0 `.npy` file of little-endian floats.
func npy(_ rows: [[Float]], shape: String? = nil) -> [UInt8] {
    let shape = shape ?? "(\(rows.count), \(rows.first?.count ?? 0))"
    var header = "{'descr': '<f4', 'fortran_order': False, 'shape': \(shape), }"
    while (10 + header.utf8.count + 1) % 64 != 0 { header += " " }
    header += "\n"
    let count = header.utf8.count
    var bytes: [UInt8] = [0x93] + Array("NUMPY".utf8) + [1, 0, UInt8(count & 255), UInt8(count >> 8)]
    bytes += Array(header.utf8)
    for value in rows.joined() { for k in 0..<4 { bytes.append(UInt8(value.bitPattern >> UInt32(8 * k) & 255)) } }
    return bytes
}
