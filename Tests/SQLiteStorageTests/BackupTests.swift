import Foundation
import Personalization
import TensorCore
import Testing

@testable import SQLiteStorage

/// Copies of a file: where they go nothing is lost, and what fails is named.
struct BackupTests {
    private let folder: TemporaryFolder
    private let path: String

    init() throws {
        folder = try TemporaryFolder()
        path = folder.newPath()
    }

    private func make(users: Int = 40) async throws {
        let storage = try await SQLiteStorage(path: path)
        for user in 0..<users {
            let entry = JournalEntry(
                user: "user \(user)", version: 1, recordedAt: 0, action: [UInt8](repeating: UInt8(user), count: 3000))
            _ = try await storage.append(entry, durability: .synced)
        }
        await storage.close()
    }

    private func error(_ body: () async throws -> Void) async -> StorageError? {
        do {
            try await body()
            return nil
        } catch {
            return error as? StorageError
        }
    }

    private var partials: [String] {
        get throws {
            try FileManager.default.contentsOfDirectory(atPath: folder.path).filter { $0.contains("partial") }
        }
    }

    @Test func aDamagedPageIsThatOfTheFileAndNotOfTheCopy() async throws {
        try await make()
        let page = 4096
        var bytes = Array(try contents(ofFile: path))
        let last = bytes.count / page
        #expect(last > 10)
        bytes[bytes.count - page / 2] ^= 1
        try Data(bytes).write(to: URL(filePath: path))
        let storage = try await SQLiteStorage(path: path, access: .reading)
        let copy = folder.newPath()
        let error = try #require(await error { try await storage.backup(to: copy) })
        #expect(error.code == .damaged && error.path == path && error.operation == "backup")
        #expect(error.message.contains("page \(last) is not what was written"), "\(error)")
        #expect(!error.message.contains("not an error"), "\(error)")
        #expect(!FileManager.default.fileExists(atPath: copy))
        #expect(try partials.isEmpty)
        await storage.close()
    }

    @Test func whatCameMeanwhileStays() async throws {
        try await make()
        let storage = try await SQLiteStorage(path: path, access: .reading)
        let copy = folder.newPath()
        let error = await error {
            try await storage.backup(to: copy) { _, _ in
                _ = FileManager.default.createFile(atPath: copy, contents: Data("another's".utf8))
            }
        }
        #expect(error?.code == .exists && error?.path == copy)
        #expect(try contents(ofFile: copy) == Data("another's".utf8))
        #expect(try partials.isEmpty)
        await storage.close()
    }

    /// All have seen that there is nothing before the first is done.
    @Test func oneOfManyAtOnceSucceeds() async throws {
        try await make()
        let storage = try await SQLiteStorage(path: path, access: .reading)
        let copy = folder.newPath()
        let all = 4
        let arrived = Shared(0)
        let open = DispatchSemaphore(value: 0)
        let codes = await withTaskGroup(of: StorageError.Code?.self) { group in
            for _ in 0..<all {
                group.addTask {
                    let isFirstCall = Shared(true)
                    do {
                        try await storage.backup(to: copy) { _, _ in
                            guard
                                isFirstCall.change({ value in
                                    defer { value = false }; return value
                                })
                            else { return }
                            if arrived.change({
                                $0 += 1; return $0
                            }) == all {
                                for _ in 0..<all { open.signal() }
                            }
                            // Ends the test where one has failed before.
                            _ = open.wait(timeout: .now() + 60)
                        }
                        return nil
                    } catch {
                        return (error as? StorageError)?.code ?? .closed
                    }
                }
            }
            var codes: [StorageError.Code?] = []
            for await code in group { codes.append(code) }
            return codes
        }
        #expect(codes.filter { $0 == nil }.count == 1)
        #expect(codes.filter { $0 == .exists }.count == all - 1)
        #expect(try partials.isEmpty)
        await storage.close()
        let restored = try await SQLiteStorage(path: copy, access: .reading)
        #expect(try await restored.journalledUsers().count == 40)
        await restored.close()
    }

    @Test(arguments: [true, false])
    func namesAreGivenWithLinksAndWithout(_ hasLinks: Bool) throws {
        let (partial, name) = (folder.newPath(), folder.newPath())
        try Data("new".utf8).write(to: URL(filePath: partial))
        try NewName.give(name, to: partial, hasLinks: hasLinks)
        #expect(try contents(ofFile: name) == Data("new".utf8))
        #expect(!FileManager.default.fileExists(atPath: partial))
        try Data("newer".utf8).write(to: URL(filePath: partial))
        let error = #expect(throws: StorageError.self) { try NewName.give(name, to: partial, hasLinks: hasLinks) }
        #expect(error?.code == .exists)
        #expect(try contents(ofFile: name) == Data("new".utf8))
        // What cannot be given a name leaves nothing under it.
        let other = folder.newPath()
        #expect(throws: StorageError.self) { try NewName.give(other, to: folder.newPath(), hasLinks: hasLinks) }
        #expect(!FileManager.default.fileExists(atPath: other))
    }

    @Test func aMissingFolderIsMissing() async throws {
        try await make(users: 1)
        let storage = try await SQLiteStorage(path: path, access: .reading)
        let error = await error { try await storage.backup(to: folder.path + "/none/copy.db") }
        #expect(error?.code == .missing)
        await storage.close()
    }
}
