import Foundation
import Personalization
import TensorCore
import TestSupport
import Testing

@testable import SQLiteStorage

@Suite("Length of the log", .serialized, .timeLimit(.minutes(10)))
struct LogLengthTests {
    private func size(_ path: String) throws -> Int {
        guard FileManager.default.fileExists(atPath: path) else { return 0 }
        return try FileManager.default.attributesOfItem(atPath: path)[.size] as? Int ?? 0
    }

    /// The background copies from 16,384 pages of 4,120 bytes on while nothing is appended, and whoever commits at twice as many:
    /// 135 MB. What a settling of these small entries writes in one transaction comes on top, below 15 MB.
    private static let bound = 150_000_000

    @Test("the log stays short while updates never pause, and goes when the file is closed", arguments: [1, 64])
    func isBounded(tasks: Int) async throws {
        let folder = try TemporaryFolder()
        let path = folder.newPath()
        let storage = try await SQLiteStorage(path: path)
        let each = underSanitizer(4_000, otherwise: 200_000) / tasks
        let longest = Shared<Int>(0)
        let isDone = Shared<Bool>(false)
        try await withThrowingTaskGroup(of: Void.self) { group in
            group.addTask {
                while !isDone.value {
                    let size = try size(path + "-wal")
                    longest.change { $0 = max($0, size) }
                    try await Task.sleep(for: .milliseconds(5))
                }
            }
            try await withThrowingTaskGroup(of: Void.self) { writers in
                for task in 0..<tasks {
                    writers.addTask {
                        for i in 0..<each {
                            let entry = JournalEntry(
                                user: "user \(task).\(i % 16)", version: UInt64(i + 1),
                                id: i % 4 == 0 ? FeedbackID("\(i)") : nil, recordedAt: Int64(i),
                                action: [UInt8](repeating: 7, count: 60))
                            let outcome = try await storage.append(entry, durability: .buffered)
                            #expect(outcome == .appended)
                        }
                    }
                }
                try await writers.waitForAll()
            }
            isDone.change { $0 = true }
            try await group.waitForAll()
        }
        let most = max(longest.value, try size(path + "-wal"))
        print("the log of \(each * tasks) appends by \(tasks) tasks had at most \(most) bytes")
        #expect(most > 0 && most < Self.bound)
        await storage.close()
        #expect(!FileManager.default.fileExists(atPath: path + "-wal"))
        #expect(!FileManager.default.fileExists(atPath: path + "-shm"))
        let again = try await SQLiteStorage(path: path)
        let entries = try await again.usersOverview().reduce(0) { $0 + $1.entries }
        #expect(entries == each * tasks)
        await again.close()
    }
}
