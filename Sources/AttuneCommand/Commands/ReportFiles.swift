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
        let parent = html.lastIndex(of: "/").map { $0 == html.startIndex ? "/" : String(html[..<$0]) } ?? "."
        guard unsafe access(parent, W_OK | X_OK) == 0 else {
            throw CommandFailure(
                .cannotCreate, "can't create \(quoted(html)): \(unsafe String(cString: strerror(errno)))")
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
