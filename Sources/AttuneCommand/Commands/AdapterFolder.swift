import Attune

#if canImport(Glibc)
    import Glibc
#elseif canImport(Musl)
    import Musl
#else
    import Darwin
#endif

/// The folder that `attune personalize --output` writes to: one file for each user.
struct AdapterFolder {
    let path: String

    /// Makes the folder, and those above it, where they are not there.
    ///
    /// - Throws: ``CommandFailure`` (`cannotCreate`) naming what could not be made.
    static func make(_ path: String) throws(CommandFailure) {
        var partial = path.hasPrefix("/") ? "/" : ""
        for component in path.split(separator: "/") {
            partial += (partial.isEmpty || partial.hasSuffix("/") ? "" : "/") + component
            if unsafe mkdir(partial, 0o777) == 0 { continue }
            let code = errno
            guard code == EEXIST, isFolder(partial) else {
                throw failure(partial, code == EEXIST ? "it is not a folder" : message(code))
            }
        }
        if unsafe access(path.isEmpty ? "." : path, W_OK) != 0 { throw failure(path, message(errno)) }
    }

    /// Writes every adapter of an engine; returns how many.
    func write(_ engine: PersonalizationEngine, progress: (_ done: Int) -> Void) async throws -> Int {
        var count = 0
        let users = try await engine.users()
        for user in users {
            guard let adapter = try await engine.adapter(for: user) else { continue }
            let record = StoredAdapter(
                user: user, embeddingModel: engine.configuration.embeddingModel, adapter: adapter)
            do throws(TensorFileError) {
                try AdapterFile.write(record, to: "\(path)/\(Self.fileName(user))")
            } catch {
                throw CommandFailure(.ioError, "can't write an adapter: \(error)")
            }
            count += 1
            progress(count)
        }
        return count
    }

    /// A file name that any user id has and no two share: letters, digits, `-` and `_` as they are, other bytes as `%XX`;
    /// an id too long for a name is cut and gets its hash. The id itself stands in the file.
    static func fileName(_ user: String) -> String {
        var name = ""
        for byte in user.utf8 {
            let isPlain =
                switch byte {
                case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
                    UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "-"), UInt8(ascii: "_"):
                    true
                default: false
                }
            if isPlain {
                name.unicodeScalars.append(Unicode.Scalar(byte))
            } else {
                let digits = String(byte, radix: 16, uppercase: true)
                name += digits.count == 1 ? "%0\(digits)" : "%\(digits)"
            }
        }
        if name.utf8.count > 180 {
            name = String(name.prefix(150)) + "%%" + String(StableHash.hash(user), radix: 16)
        }
        return name + ".safetensors"
    }

    private static func isFolder(_ path: String) -> Bool {
        var information = stat()
        return unsafe stat(path, &information) == 0 && (information.st_mode & S_IFMT) == S_IFDIR
    }

    private static func failure(_ path: String, _ reason: String) -> CommandFailure {
        CommandFailure(.cannotCreate, "can't write to the folder \(quoted(path)): \(reason)")
    }

    private static func message(_ code: Int32) -> String { unsafe String(cString: strerror(code)) }
}
