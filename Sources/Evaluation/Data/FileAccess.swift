#if canImport(FoundationEssentials)
    import FoundationEssentials
#else
    import Foundation
#endif

/// The few things a data folder needs from the file system.
enum FileAccess {
    /// The bytes of `folder/name`, or nil when there is no such file.
    static func bytes(of name: String, in folder: String, limits: DataLimits) throws(DataError) -> [UInt8]? {
        let path = folder + "/" + name
        guard FileManager.default.fileExists(atPath: path) else { return nil }
        do {
            let size = try FileManager.default.attributesOfItem(atPath: path)[.size] as? Int ?? 0
            if size > limits.fileBytes {
                throw DataError(.limitExceeded, file: name, "\(size) bytes, more than the limit of \(limits.fileBytes)")
            }
            let data = try Data(contentsOf: URL(filePath: path))
            // Pipes and devices report no size.
            if data.count > limits.fileBytes {
                throw DataError(.limitExceeded, file: name, "more bytes than the limit of \(limits.fileBytes)")
            }
            return [UInt8](data)
        } catch let error as DataError {
            throw error
        } catch {
            throw DataError(.unreadable, file: name, "the file cannot be read: \(reason(error))")
        }
    }

    /// The bytes of a file that must exist.
    static func requiredBytes(of name: String, in folder: String, limits: DataLimits) throws(DataError) -> [UInt8] {
        guard let bytes = try bytes(of: name, in: folder, limits: limits) else {
            throw DataError(.missingFile, file: name, "the folder has no such file")
        }
        return bytes
    }

    /// The names in the folder, in order of their bytes.
    static func names(in folder: String) throws(DataError) -> [String] {
        do {
            return try FileManager.default.contentsOfDirectory(atPath: folder).sorted {
                $0.utf8.lexicographicallyPrecedes($1.utf8)
            }
        } catch {
            throw DataError(.unreadable, "the folder \"\(folder)\" cannot be read: \(reason(error))")
        }
    }

    /// The folder's own name, also for paths such as `.` and `data/..`.
    static func lastComponent(of path: String) -> String {
        let absolute = path.hasPrefix("/") ? path : FileManager.default.currentDirectoryPath + "/" + path
        let name = URL(filePath: absolute).standardizedFileURL.lastPathComponent
        return name.isEmpty || name == "/" ? "data" : name
    }

    private static func reason(_ error: any Error) -> String {
        // Foundation's texts for these repeat the whole path; the code says enough.
        guard let error = error as? CocoaError else { return "\(error)" }
        switch error.code {
        case .fileNoSuchFile, .fileReadNoSuchFile: return "no such file or folder"
        case .fileReadNoPermission: return "permission denied"
        default: return "error \(error.code.rawValue)"
        }
    }
}
