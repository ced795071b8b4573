import Foundation

/// A new folder for a benchmark's files.
struct PassingFolder {
    let url: URL

    init(_ name: String, in folder: URL) throws {
        url = folder.appending(path: "\(name)-\(UInt32.random(in: 0 ... .max))")
        try FileManager.default.createDirectory(at: url, withIntermediateDirectories: true)
    }

    /// Removes it with all that is in it, or says that it stays.
    func remove() {
        do {
            try FileManager.default.removeItem(at: url)
        } catch {
            FileHandle.standardError.write(Data("Benchmark: \(url.path) stays: \(error)\n".utf8))
        }
    }
}
