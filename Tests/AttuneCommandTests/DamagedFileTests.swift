import Attune
import Foundation
import SQLiteStorage
import Testing

@testable import AttuneCommand

/// What the commands say of a storage file with a damaged page.
@Suite struct DamagedFileTests {
    @Test func everyDamagedPageIsSeenAndTheOthersGoOn() async throws {
        let folder = try JobTests.Folder()
        let file = folder.path + "/attune.db"
        #expect(await attune("personalize", folder.path, "--rank", "3", "--store", file).code == .success)
        let clean = await attune("verify", file)
        #expect(clean.code == .success && clean.output.contains("Clean"))
        let whole = try [UInt8](Data(contentsOf: URL(filePath: file)))
        let copy = folder.path + "/damaged.db"
        var (mismatches, listed, forgotten) = (0, 0, 0)
        for page in 1..<whole.count / 4096 {
            var bytes = whole
            bytes[page * 4096 + 1234] ^= 8
            try Data(bytes).write(to: URL(filePath: copy))
            let verified = await attune("verify", copy)
            // A free page holds nothing.
            let isFree = verified.code == .success
            #expect([.success, .mismatch, .badData].contains(verified.code), "page \(page): \(verified.errors)")
            #expect(verified.output.contains("Clean") == isFree)
            if verified.code == .mismatch {
                mismatches += 1
                #expect(verified.output.lowercased().contains("page \(page + 1)"), "\(verified.output)")
                #expect(verified.errors.contains("restore a backup"))
            }
            let users = await attune("users", copy)
            if users.output.contains("damaged ") { listed += 1 }
            // Whoever is not on the page can be forgotten.
            for user in try await SQLiteStorageUsers.whole(copy).prefix(1) {
                let answer = await attune("forget", copy, "--user", user)
                if answer.code == .success { forgotten += 1 } else { #expect(answer.code == .badData) }
            }
            for suffix in ["", "-wal", "-shm", "-lock"] where FileManager.default.fileExists(atPath: copy + suffix) {
                try FileManager.default.removeItem(atPath: copy + suffix)
            }
        }
        print("of \(whole.count / 4096) pages: \(mismatches) mismatches, \(listed) lists, \(forgotten) forgotten")
        #expect(mismatches > 5 && listed > 2 && forgotten > 5)
    }
}

private enum SQLiteStorageUsers {
    /// The users of a file who stand on no damaged page; none where that cannot be said.
    static func whole(_ path: String) async throws -> [String] {
        do {
            let reader = try await SQLiteStorage(path: path, access: .reading)
            let users = try await reader.usersOverview().filter { !$0.isDamaged }.map(\.user)
            await reader.close()
            return users
        } catch let error as StorageError {
            #expect(error.code == .damaged)
            return []
        }
    }
}
