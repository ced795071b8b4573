#if canImport(Glibc)
    import Foundation
    import Glibc
    import Personalization
    import Testing

    @testable import SQLiteStorage

    /// The row of the table of faults about a write that failed half-way. A process of its own, which the system lets write files of a
    /// limited size alone, stands for the disk.
    @Suite("A write that fails half-way")
    struct FailedWriteTests {
        private static func entry(_ version: UInt64) -> JournalEntry {
            JournalEntry(
                user: "ada", version: version, id: FeedbackID("\(version)"), recordedAt: 0,
                action: [UInt8](repeating: UInt8(version), count: 3000))
        }

        /// Lets this process make files of so many bytes; `nil` for any size.
        private static func limitFiles(_ bytes: Int?) {
            signal(SIGXFSZ, SIG_IGN)
            var limit = rlimit()
            let resource = __rlimit_resource_t(RLIMIT_FSIZE.rawValue)
            precondition(unsafe getrlimit(resource, &limit) == 0)
            limit.rlim_cur = bytes.map { rlim_t($0) } ?? limit.rlim_max
            precondition(unsafe setrlimit(resource, &limit) == 0)
        }

        private static func code(_ body: () async throws -> some Any) async -> StorageError.Code? {
            do {
                _ = try await body()
                return nil
            } catch {
                return (error as? StorageError)?.code
            }
        }

        @Test("is inputOutput; then nothing is written until the file is opened again, and reads are served")
        func isNotedUntilItIsOpenedAgain() async {
            await #expect(processExitsWith: .success) {
                let folder = try TemporaryFolder()
                let path = folder.newPath()
                let storage = try await SQLiteStorage(path: path)
                let all = (1...4 as ClosedRange<UInt64>).map { Self.entry($0) }
                for entry in all { try #require(try await storage.append(entry, durability: .buffered) == .appended) }
                let log = try FileManager.default.attributesOfItem(atPath: path + "-wal")[.size] as? Int
                // In the middle of the next page.
                Self.limitFiles((log ?? 0) + 2000)
                let failed = await Self.code { try await storage.append(Self.entry(5), durability: .buffered) }
                try #require(failed == .inputOutput, "\(String(describing: failed))")
                let reader = try await SQLiteStorage(path: path, access: .reading)
                for storage in [storage, reader] {
                    try #require(try await storage.entries(of: "ada", after: nil) == all)
                }
                await reader.close()
                Self.limitFiles(nil)
                // There would be room now, but nobody knows what the system has kept.
                for call in 0..<3 {
                    let refused = await Self.code {
                        switch call {
                        case 0: _ = try await storage.append(Self.entry(5), durability: .buffered)
                        case 1: _ = try await storage.removeEntries(of: "ada", isForgotten: true)
                        default: _ = try await storage.compact()
                        }
                    }
                    try #require(refused == .closed, "call \(call): \(String(describing: refused))")
                }
                try #require(try await storage.entries(of: "ada", after: nil) == all)
                await storage.close()
                let again = try await SQLiteStorage(path: path)
                try #require(try await again.entries(of: "ada", after: nil) == all)
                try #require(try await again.append(Self.entry(5), durability: .buffered) == .appended)
                try #require(try await again.entries(of: "ada", after: nil) == all + [Self.entry(5)])
                await again.close()
            }
        }
    }
#endif
