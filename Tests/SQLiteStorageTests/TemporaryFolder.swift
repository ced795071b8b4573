import Foundation
import SQLiteStorage
import Synchronization

/// A folder for one test's files; it goes with the last reference.
final class TemporaryFolder: Sendable {
    let path: String
    private let count = Atomic<Int>(0)

    init() throws {
        path = FileManager.default.temporaryDirectory.path + "/attune-storage-\(UUID().uuidString)"
        try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true)
    }

    deinit {
        do { try FileManager.default.removeItem(atPath: path) } catch { print("cannot remove \(path): \(error)") }
    }

    /// The path of a file that is not there yet.
    func newPath() -> String { "\(path)/\(count.wrappingAdd(1, ordering: .relaxed).newValue).db" }

    /// A new storage.
    func storage() async throws -> SQLiteStorage { try await SQLiteStorage(path: newPath()) }
}
