import Attune
import Foundation
import Testing

@testable import AttuneCommand
@testable import Personalization

/// `attune retain`, from the command line to the file.
@Suite struct RetainCommandTests {
    /// A clock that is behind by some days.
    private struct LateClock: ReasoningClock {
        let days: Double
        var now: Timestamp {
            Timestamp(microseconds: SystemClock().now.microseconds - Int64(days * 86_400_000_000))
        }
        var uptime: Double { SystemClock().uptime }
    }

    private let folder: TestFolder
    private let shop: Shop
    private let file: String

    init() throws {
        folder = try TestFolder()
        shop = try Shop(update: Shop.stateful)
        file = folder("a.db")
    }

    /// A file whose users learned six times 40 days ago, and four times 10 days ago; the saved adapters have seen the first four.
    private func make() async throws {
        let storage = try await SQLiteStorage(path: file)
        for (steps, days) in [(0..<4, 40.0), (4..<6, 40.0), (6..<10, 10.0)] {
            let engine = try PersonalizationEngine(
                configuration: shop.configuration, store: storage, journal: storage, clock: LateClock(days: days))
            for user in ["ada", "bob"] { try await shop.learn(engine, user, steps) }
            if steps.lowerBound == 0 { try await engine.checkpoint() }
        }
        await storage.close()
    }

    @Test func oldUpdatesGoAndNothingElseChanges() async throws {
        try await make()
        let copy = folder("copy.db")
        #expect(await attune("backup", file, copy).code == .success)
        let expected = try #require(try await shop.adapter(copy, "ada", after: 10..<13)).snapshot()

        let before = try bytes(file)
        let dry = await attune("retain", file, "--days", "30", "--dry-run")
        #expect(dry.code == .success && dry.output.contains("12 updates of 2 users"))
        #expect(dry.output.contains("would be removed; nothing was written"))
        #expect(try bytes(file) == before)

        let facts = try object(await attune("retain", file, "--days", "30", "--format", "json").output)
        #expect(facts["users"] as? Int == 2 && facts["removed_entries"] as? Int == 12)
        #expect(facts["held_entries"] as? Int == 0 && facts["erased"] as? Bool == true)
        #expect((facts["failures"] as? [Any])?.isEmpty == true && facts["dry_run"] as? Bool == false)
        let verified = await attune("verify", file)
        #expect(verified.code == .success && verified.output.contains("2 users, 8 updates"))
        #expect(try await shop.adapter(file, "ada", after: 10..<13)?.snapshot() == expected)

        let gone = await attune("forget", file, "--user", "ada", "--feedback", "event 5")
        #expect(gone.code == .badData && gone.errors.contains("does not reach back"))
        #expect(await attune("forget", file, "--user", "ada", "--feedback", "event 6").code == .success)
        #expect(await attune("verify", file).code == .success)
        let again = await attune("retain", file, "--days", "30")
        #expect(again.code == .success && again.output.contains("0 updates of 0 users"))
        #expect(await attune("retain", file, "--days", "1", "--project", "other").code == .badData)
        #expect(await attune("retain", file, "--days", "1").output.contains("users"))
        #expect(await attune("verify", file).code == .success)
    }

    @Test func feedbackOfWhoHasNoEntriesLeftIsNotRetained() async throws {
        try await make()
        #expect(await attune("retain", file, "--days", "1").output.contains("20 updates of 2 users"))
        let gone = await attune("forget", file, "--user", "ada", "--feedback", "event 5")
        #expect(gone.code == .badData && gone.errors.contains("no entries of the user any more"), "\(gone.errors)")
        let nobody = await attune("forget", file, "--user", "nobody", "--feedback", "event 5")
        #expect(nobody.code == .badData && !nobody.errors.contains("any more"))
    }

    @Test func whoCannotBeDoneIsNamed() async throws {
        try await make()
        let storage = try await SQLiteStorage(path: file)
        let entry = JournalEntry(user: "cy", version: 1, recordedAt: 0, action: [200])
        _ = try await storage.append(entry, durability: .synced)
        await storage.close()
        let failed = await attune("retain", file, "--days", "30")
        #expect(failed.code == .badData && failed.output.contains("12 updates of 2 users"))
        #expect(failed.output.contains("FAILED  user cy") && failed.errors.contains("1 users"))
        let facts = try object(await attune("retain", file, "--days", "30", "--format", "json").output)
        #expect((facts["failures"] as? [[String: Any]])?.map { $0["user"] as? String } == ["cy"])
    }

    /// What a full disk gives for each user is not what the file holds.
    @Test func failuresOfTheDiskAreNoBadData() async throws {
        try await make()
        // Errors as the storage makes them: of something that exists, of what is no storage.
        func failure(_ body: () async throws -> Void) async -> JournalTrimming.Failure {
            do {
                try await body()
                return JournalTrimming.Failure(user: "ada", reason: "")
            } catch {
                return JournalTrimming.Failure(user: "ada", reason: "", cause: error)
            }
        }
        let (file, text) = (file, folder("text"))
        try Data(repeating: 1, count: 5000).write(to: URL(filePath: text))
        let storage = try await SQLiteStorage(path: file)
        let inUse = await failure { _ = try await SQLiteStorage(path: file) }
        await storage.close()
        let closed = await failure { _ = try await storage.users() }
        let noStore = await failure { _ = try await SQLiteStorage(path: text) }
        #expect(inUse.cause is StorageError && closed.cause is StorageError && noStore.cause is StorageError)
        #expect(RetainCommand.exitCode(for: [inUse, closed]) == .ioError)
        #expect(RetainCommand.exitCode(for: [inUse, noStore]) == .badData)
        #expect(RetainCommand.exitCode(for: [JournalTrimming.Failure(user: "ada", reason: "")]) == .badData)
    }

    @Test func daysAreAskedForAndAtLeastOne() async throws {
        try await make()
        let missing = await attune("retain", file)
        #expect(missing.code == .usage && missing.errors.contains("--days"))
        for days in ["0", "-3", "x", "1.5", ""] {
            #expect(await attune("retain", file, "--days", days).code == .usage, "\(days)")
        }
    }
}
