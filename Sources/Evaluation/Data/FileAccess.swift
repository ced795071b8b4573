import TensorCore

#if canImport(Glibc)
    import Glibc
#elseif canImport(Musl)
    import Musl
#else
    import Darwin
#endif

/// The few things a data folder needs from the file system.
enum FileAccess {
    /// The bytes of `folder/name`, or nil when there is no such file. Only regular files are read: a pipe could block.
    static func bytes(of name: String, in folder: String, limits: DataLimits) throws(DataError) -> [UInt8]? {
        let path = folder + "/" + name
        if unsafe access(path, F_OK) != 0, errno == ENOENT || errno == ENOTDIR { return nil }
        do throws(TensorFileError) {
            let source = try ByteSource(path: path)
            guard source.count <= limits.fileBytes else {
                throw TensorFileError(
                    .limitExceeded, path: path, "\(source.count) bytes, more than the limit of \(limits.fileBytes)")
            }
            return try source.bytes(0..<source.count)
        } catch {
            let code: DataError.Code = error.code == .limitExceeded ? .limitExceeded : .unreadable
            throw DataError(code, file: name, error.message)
        }
    }

    /// The bytes of a file that must exist.
    static func requiredBytes(of name: String, in folder: String, limits: DataLimits) throws(DataError) -> [UInt8] {
        guard let bytes = try bytes(of: name, in: folder, limits: limits) else {
            throw DataError(.missingFile, file: name, "the folder has no such file")
        }
        return bytes
    }

    /// The name and the bytes of a file that stands by itself.
    ///
    /// - Throws: ``DataError`` (`unreadable`, `limitExceeded`).
    static func document(_ path: String, limit: Int) throws(DataError) -> (name: String, bytes: [UInt8]) {
        let name = path.split(separator: "/").last.map(String.init) ?? path
        do throws(TensorFileError) {
            let source = try ByteSource(path: path)
            guard source.count <= limit else {
                throw TensorFileError(
                    .limitExceeded, path: path, "\(source.count) bytes, more than the limit of \(limit)")
            }
            return (name, try source.bytes(0..<source.count))
        } catch {
            throw DataError(error.code == .limitExceeded ? .limitExceeded : .unreadable, file: name, error.message)
        }
    }

    /// The names in the folder, in order of their bytes.
    static func names(in folder: String) throws(DataError) -> [String] {
        guard let directory = unsafe opendir(folder) else {
            let number = errno
            throw DataError(
                number == ENOENT ? .missingFile : .unreadable,
                "the folder \"\(folder)\" cannot be read: \(unsafe String(cString: strerror(number)))")
        }
        defer { unsafe closedir(directory) }
        var names: [String] = []
        while let entry = unsafe readdir(directory) {
            let name = unsafe withUnsafePointer(to: &entry.pointee.d_name) { field in
                unsafe field.withMemoryRebound(to: CChar.self, capacity: MemoryLayout.size(ofValue: field.pointee)) {
                    unsafe String(cString: $0)
                }
            }
            if name != ".", name != ".." { names.append(name) }
        }
        return names.sorted { $0.utf8.lexicographicallyPrecedes($1.utf8) }
    }

    /// The folder's own name, also for paths such as `.` and `data/..`.
    static func lastComponent(of path: String) -> String {
        guard let resolved = unsafe realpath(path, nil) else { return "data" }
        defer { unsafe free(resolved) }
        let name = unsafe String(cString: resolved).split(separator: "/").last.map(String.init) ?? ""
        return name.isEmpty ? "data" : name
    }
}
