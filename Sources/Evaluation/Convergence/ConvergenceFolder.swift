import TensorCore

#if canImport(Glibc)
    import Glibc
#elseif canImport(Musl)
    import Musl
#else
    import Darwin
#endif

/// A folder of results of one benchmark of convergence, and of the pieces from which a run that was stopped goes on.
///
/// One run at a time has it, in this process or in another; it is let go when the last reference is. In it: `result.json`
/// (``BenchmarkRecord``), `measures.csv`, `curves.csv`, `candidates.csv`, `users.csv`, `times.csv`, `report.html`, and the folder
/// `pieces`. Nothing but `times.csv` and one section of `report.html`, "Time and memory", depends on how long something took.
public final class ConvergenceFolder: Sendable {
    /// The folder's path.
    public let path: String
    /// Where the pieces are.
    let pieces: String
    private let lock: Int32

    /// Makes the folder where there is none, and takes it.
    ///
    /// - Throws: ``DataError``: `inUse` while another run has it; `cannotWrite` where it cannot be made, or holds other things than a
    ///   benchmark's.
    public init(path: String) throws(DataError) {
        self.path = path
        pieces = path + "/pieces"
        do throws(TensorFileError) {
            // The folders that it is in, too.
            for place in path.indices.dropFirst() where path[place] == "/" {
                try AtomicFile.makeFolder(String(path[..<place]))
            }
            try AtomicFile.makeFolder(path)
        } catch {
            throw DataError(.cannotWrite, "the folder for results cannot be made: \(error)")
        }
        let names = try FileAccess.names(in: path)
        var isOurs = names.isEmpty
        if names.contains("pieces") { isOurs = try FileAccess.names(in: pieces).allSatisfy(Self.isPiece) }
        guard isOurs else {
            throw DataError(.cannotWrite, "the folder for results holds other things: name a new one, or an empty one")
        }
        do throws(TensorFileError) { try AtomicFile.makeFolder(pieces) } catch {
            throw DataError(.cannotWrite, "the folder for pieces cannot be made: \(error)")
        }
        lock = try Self.locked(pieces + "/lock")
        removeTemporaryFiles()
    }

    deinit { close(lock) }

    /// Whether a name in the folder `pieces` is one of a benchmark's.
    private static func isPiece(_ name: String) -> Bool {
        name == "lock" || name.hasSuffix(".piece") || name.contains(".piece.")
    }

    private static func locked(_ file: String) throws(DataError) -> Int32 {
        func refusal(_ what: String, _ number: Int32) -> DataError {
            DataError(
                .cannotWrite, "the lock of the folder for results \(what): \(unsafe String(cString: strerror(number)))")
        }
        let descriptor = unsafe open(file, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0o666)
        guard descriptor >= 0 else { throw refusal("cannot be opened", errno) }
        guard flock(descriptor, LOCK_EX | LOCK_NB) == 0 else {
            let number = errno
            close(descriptor)
            guard number == EWOULDBLOCK else { throw refusal("cannot be taken", number) }
            throw DataError(
                .inUse, "another run writes to the folder for results: wait for its end, or name another folder")
        }
        return descriptor
    }

    /// Takes away what a run left that was killed while it wrote.
    private func removeTemporaryFiles() {
        for (folder, isOurs) in [
            (pieces, { (name: String) in name.contains(".piece.") }),
            (path, { (name: String) in Self.outputs.contains { name.hasPrefix($0 + ".") } }),
        ] {
            // Where the names cannot be read, nothing can be taken away; the run itself will say why.
            guard let names = Result(catching: { () throws(DataError) in try FileAccess.names(in: folder) }).success
            else { continue }
            for name in names where name.hasSuffix(".tmp") && isOurs(name) { unsafe unlink("\(folder)/\(name)") }
        }
    }

    private static let outputs = [
        "result.json", "measures.csv", "curves.csv", "candidates.csv", "users.csv", "times.csv", "report.html",
    ]

    /// Writes the results; each file appears whole or not at all.
    ///
    /// - Throws: ``DataError`` (`cannotWrite`) naming the file.
    public func write(_ result: ConvergenceResult) throws(DataError) {
        let texts = [
            result.record.json, result.measuresCSV, result.evaluation.curvesCSV, result.candidatesCSV, result.usersCSV,
            result.timesCSV, result.html,
        ]
        for (name, text) in zip(Self.outputs, texts) {
            do throws(TensorFileError) {
                try AtomicFile.write(to: "\(path)/\(name)") { file throws(TensorFileError) in
                    try file.append(Array(text.utf8))
                }
            } catch {
                throw DataError(.cannotWrite, file: name, "the results cannot be written: \(error)")
            }
        }
    }
}

extension Result {
    fileprivate var success: Success? {
        if case .success(let value) = self { return value }
        return nil
    }
}
