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

    /// Writes both; each appears whole or not at all.
    ///
    /// - Throws: ``CommandFailure`` (`ioError`).
    func write(_ result: EvaluationResult) throws(CommandFailure) {
        for (path, text) in [(html, result.html), (csv, result.curvesCSV)] {
            do throws(TensorFileError) {
                try AtomicFile.write(to: path) { file throws(TensorFileError) in try file.append(Array(text.utf8)) }
            } catch {
                throw CommandFailure(.ioError, "can't write the report: \(error)")
            }
        }
    }
}
