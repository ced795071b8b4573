import Attune

#if canImport(Glibc)
    import Glibc
#elseif canImport(Musl)
    import Musl
#else
    import Darwin
#endif

/// The two files of `attune evaluate --report`: the page, and the curves as CSV beside it.
struct ReportFiles {
    let html: String
    let csv: String

    /// Makes sure that the page can be written, before the work that it reports on.
    ///
    /// - Throws: ``CommandFailure`` (`cannotCreate`).
    init(html: String) throws(CommandFailure) {
        self.html = html
        csv = html.hasSuffix(".html") ? String(html.dropLast(5)) + ".csv" : html + ".csv"
        // Nobody has named the CSV file: one that isn't a report's must not be lost to it.
        guard try Self.isFreeOrReport(csv) else {
            throw CommandFailure(
                .cannotCreate,
                "\(quoted(csv)), where the report's curves would go, is there and isn't a report's; choose another name"
            )
        }
        // A file beside each is made and taken away, which meets whatever would keep the report from being written.
        for path in [html, csv] {
            var information = stat()
            if unsafe stat(path, &information) == 0, (information.st_mode & S_IFMT) == S_IFDIR {
                throw CommandFailure(.cannotCreate, "can't create \(quoted(path)): it is a folder")
            }
            let trial = path + ".0123456789abcd.tmp"
            let file = unsafe open(trial, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0o666)
            guard file >= 0 else {
                throw CommandFailure(
                    .cannotCreate, "can't create \(quoted(path)): \(unsafe String(cString: strerror(errno)))")
            }
            close(file)
            unsafe unlink(trial)
        }
    }

    /// Whether there is no such file, or one that begins as the curves do.
    private static func isFreeOrReport(_ path: String) throws(CommandFailure) -> Bool {
        let file = unsafe open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK)
        // One that can't be opened can't be replaced either, and the trial below says why.
        guard file >= 0 else { return true }
        defer { close(file) }
        let header = Array(EvaluationResult.curvesHeader.utf8)
        var start = [UInt8](repeating: 0, count: header.count)
        let count = unsafe start.withUnsafeMutableBytes { unsafe read(file, $0.baseAddress, $0.count) }
        return count == 0 || (count == header.count && start == header)
    }

    /// Writes both; each appears whole or not at all.
    ///
    /// - Throws: ``CommandFailure`` (`ioError`).
    func write(_ result: EvaluationResult) throws(CommandFailure) {
        for (path, text) in [(html, result.html), (csv, result.curvesCSV)] { try Self.write(text, to: path) }
    }

    /// Writes a file, which appears whole or not at all.
    ///
    /// - Throws: ``CommandFailure`` (`ioError`).
    static func write(_ text: String, to path: String) throws(CommandFailure) {
        do throws(TensorFileError) {
            try AtomicFile.write(to: path) { file throws(TensorFileError) in try file.append(Array(text.utf8)) }
        } catch {
            throw CommandFailure(.ioError, "can't write the report: \(error)")
        }
    }
}
