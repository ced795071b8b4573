#if canImport(Glibc)
    import Glibc
#elseif canImport(Musl)
    import Musl
#else
    import Darwin
#endif

/// Where an export or an archive is written: not over the store itself, nor over what is no file.
enum ExportTarget {
    /// What a database keeps beside its file.
    private static let companions = ["", "-wal", "-shm", "-journal", "-lock"]

    /// Refuses a path, and that of its manifest.
    ///
    /// - Parameter place: The store's (``RecordStore/place``): a path, or something else that names no file.
    /// - Throws: ``RecordError`` (`files`).
    static func check(
        _ path: String, hasManifest: Bool = true, besides place: String, _ operation: String
    ) throws(RecordError) {
        for target in [path] + (hasManifest ? [TrainingManifest.path(for: path)] : []) {
            var facts = stat()
            if unsafe lstat(target, &facts) == 0, facts.st_mode & S_IFMT != S_IFREG {
                throw RecordError(
                    .files, operation,
                    "what stands at the file's path, or its manifest's, is no file: give another path")
            }
            guard let own = resolved(place) else { continue }
            for companion in companions where isSame(target, own + companion) {
                throw RecordError(
                    .files, operation,
                    "the file, or its manifest, would take the place of the store's own: give another path")
            }
        }
    }

    /// A path without links; `nil` where nothing is.
    private static func resolved(_ path: String) -> String? {
        guard let real = unsafe realpath(path, nil) else { return nil }
        defer { unsafe free(real) }
        return unsafe String(cString: real)
    }

    /// Whether two paths are of one file, or will be.
    private static func isSame(_ left: String, _ right: String) -> Bool {
        if let first = resolved(left), let second = resolved(right) {
            return first == second || isLinked(first, second)
        }
        func parts(_ path: String) -> (folder: String?, name: Substring) {
            guard let end = path.lastIndex(of: "/") else { return (resolved("."), path[...]) }
            return (resolved(end == path.startIndex ? "/" : String(path[..<end])), path[path.index(after: end)...])
        }
        let (first, second) = (parts(left), parts(right))
        return first.folder != nil && first.folder == second.folder && first.name == second.name
    }

    /// Whether two names are of one file.
    private static func isLinked(_ left: String, _ right: String) -> Bool {
        var (first, second) = (stat(), stat())
        guard unsafe stat(left, &first) == 0, unsafe stat(right, &second) == 0 else { return false }
        return first.st_dev == second.st_dev && first.st_ino == second.st_ino
    }
}
