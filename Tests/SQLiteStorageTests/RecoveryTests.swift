import Foundation
import LoRA
import StorageTesting
import TensorCore
import TestSupport
import Testing

@testable import Personalization
@testable import SQLiteStorage

/// A store around another one that counts what is asked of it.
private final class CountingStore: AdapterStore {
    private let inner: any AdapterStore
    private let counts = Lock<(loads: Int, saves: Int)>((0, 0))

    init(_ inner: any AdapterStore) { self.inner = inner }

    var loads: Int { counts.withLock { $0.loads } }
    var saves: Int { counts.withLock { $0.saves } }

    func load(_ user: String) async throws -> StoredAdapter? {
        counts.withLock { $0.loads += 1 }
        return try await inner.load(user)
    }
    func save(_ adapters: [StoredAdapter]) async throws {
        counts.withLock { $0.saves += adapters.count }
        try await inner.save(adapters)
    }
    func remove(_ user: String) async throws -> Bool { try await inner.remove(user) }
    func users() async throws -> [String] { try await inner.users() }
    func savedVersions(of users: [String]) async throws -> [UInt64?] { try await inner.savedVersions(of: users) }
}

@Suite("Recovery", .timeLimit(.minutes(10)))
struct RecoveryTests {
    let folder: TemporaryFolder
    let script: ShopScript

    init() throws {
        folder = try TemporaryFolder()
        script = try ShopScript()
    }

    enum Place: Sendable, CaseIterable { case memory, sqlite }

    @Test("a recovery loads those with something to replay, and nobody else", arguments: Place.allCases)
    func loadsWhoHasSomethingToReplay(place: Place) async throws {
        let storage = try await folder.storage()
        let store: any AdapterStore = place == .sqlite ? storage : InMemoryAdapterStore()
        let journal: any FeedbackJournal = place == .sqlite ? storage : InMemoryFeedbackJournal()
        let configuration = ShopScript.configuration()
        let first = try PersonalizationEngine(configuration: configuration, store: store, journal: journal)
        let users = (0..<underSanitizer(500, otherwise: 10_000)).map { "user \($0)" }
        for result in await first.updateAdapters(
            users.map { UserFeedback(user: $0, feedback: script.batch($0, 1)) })
        {
            _ = try result.get()
        }
        #expect(try await first.checkpoint() == users.count)
        let few = (0..<10).map { users[$0 * users.count / 10] }
        for user in few {
            for step in 2..<4 { _ = try await first.updateAdapter(for: user, with: script.batch(user, step)) }
        }
        let counting = CountingStore(store)
        let next = try PersonalizationEngine(configuration: configuration, store: counting, journal: journal)
        let told = Shared<[Int]>([])
        let report = try await next.recover { done, all in told.change { $0.append(all) } }
        #expect(report.users == 10 && report.entries == 20)
        #expect(told.value == Array(repeating: 10, count: 10))
        #expect(counting.loads == 10 && counting.saves == 10)
        for user in few {
            let expected = try await first.adapter(for: user)
            #expect(try await store.load(user)?.adapter.snapshot() == expected?.snapshot())
        }
        // Nothing is left, and who was never saved is found too.
        let again = CountingStore(store)
        _ = try await next.updateAdapter(for: "new", with: script.batch("new", 0))
        let last = try PersonalizationEngine(configuration: configuration, store: again, journal: journal)
        #expect(try await last.recover().users == 1)
        #expect(again.loads == 1 && again.saves == 1)
        await storage.close()
    }

    /// Makes a file whose user has three updates in a saved adapter and two in the journal alone.
    private func makeFile(_ path: String) async throws -> LoRAAdapter? {
        let storage = try await SQLiteStorage(path: path)
        let engine = try PersonalizationEngine(
            configuration: ShopScript.configuration(), store: storage, journal: storage)
        for step in 0..<5 {
            if step == 3 { try await engine.checkpoint() }
            _ = try await engine.updateAdapter(for: "ada", with: script.batch("ada", step))
        }
        let adapter = try await engine.adapter(for: "ada")
        await storage.close()
        return adapter
    }

    @Test("without durability users of a file that is only read are served")
    func servesFromWhatIsRead() async throws {
        let path = folder.newPath()
        let expected = try #require(try await makeFile(path))
        let storage = try await SQLiteStorage(path: path, access: .reading)
        let engine = try PersonalizationEngine(
            configuration: ShopScript.configuration(durability: Durability.none), store: storage, journal: storage)
        #expect(try await engine.adapter(for: "ada")?.snapshot() == expected.snapshot())
        let embedding = script.batch("ada", 0)[0].embedding
        #expect(try await engine.personalize(embedding, for: "ada").version == 5)
        #expect(try await engine.checkpoint() == 0)
        #expect(try await engine.unloadAdapter(for: "ada"))
        #expect(try await engine.adapter(for: "ada")?.snapshot() == expected.snapshot())
        // It learns in memory, and what cannot be saved stays there.
        #expect(try await engine.updateAdapter(for: "ada", with: script.batch("ada", 5)).version == 6)
        let error = await #expect(throws: EngineError.self) { try await engine.checkpoint() }
        #expect(error?.code == .storeFailed)
        #expect(try await engine.adapter(for: "ada")?.version == 6)
        await storage.close()
    }

    @Test("without durability what was learned is saved after what was replayed", arguments: [false, true])
    func savesAfterReplay(recovers: Bool) async throws {
        let path = folder.newPath()
        let expected = try #require(try await makeFile(path))
        let storage = try await SQLiteStorage(path: path)
        let configuration = ShopScript.configuration(durability: Durability.none)
        func engine() throws -> PersonalizationEngine {
            try PersonalizationEngine(configuration: configuration, store: storage, journal: storage)
        }
        var first = try engine()
        if recovers {
            // Saved, and the entries stay.
            #expect(try await first.recover().entries == 2)
            #expect(try await storage.load("ada")?.adapter.snapshot() == expected.snapshot())
            #expect(try await storage.entries(of: "ada", after: nil).count == 5)
            #expect(try await JournalVerification.run(storage, storage).mismatches == [])
            first = try engine()
        }
        let learned = try expected.updated(
            with: script.batch("ada", 5), configuration: ShopScript.configuration().update
        ).adapter
        _ = try await first.updateAdapter(for: "ada", with: script.batch("ada", 5))
        #expect(try await first.checkpoint() == 1)
        #expect(try await storage.load("ada")?.adapter.snapshot() == learned.snapshot())
        #expect(try await storage.entries(of: "ada", after: nil) == [])
        #expect(try await JournalVerification.run(storage, storage).mismatches == [])
        // Once more: nothing is left of the first time.
        _ = try await first.updateAdapter(for: "ada", with: script.batch("ada", 6))
        #expect(try await first.unloadAdapter(for: "ada"))
        #expect(try await first.adapter(for: "ada")?.version == 7)
        #expect(try await engine().adapter(for: "ada")?.version == 7)
        await storage.close()
    }

    @Test("appends that wait when a storage is closed are committed and answered, however many they are")
    func closesWhenAllAreAnswered() async throws {
        let path = folder.newPath()
        let storage = try await SQLiteStorage(path: path)
        let users = (0..<10_000).map { "user \($0)" }
        let isOpen = Shared(false)
        storage.writer.schedule { _ in while !isOpen.value { usleep(1000) } }
        let asked = Shared(0)
        let results = try await withThrowingTaskGroup(of: (String, Result<AppendOutcome, any Error>).self) { group in
            for user in users {
                group.addTask {
                    let entry = JournalEntry(user: user, version: 1, recordedAt: 1, action: [1])
                    asked.change { $0 += 1 }
                    do {
                        return (user, .success(try await storage.append(entry, durability: .buffered)))
                    } catch {
                        return (user, .failure(error))
                    }
                }
            }
            while asked.value < users.count { await Task.yield() }
            group.addTask {
                await storage.close()
                return ("", .success(.appended))
            }
            // So that the connection's end is in its queue before those who wait are seen to.
            try await Task.sleep(for: .milliseconds(100))
            isOpen.change { $0 = true }
            return try await group.reduce(into: [(String, Result<AppendOutcome, any Error>)]()) {
                if !$1.0.isEmpty { $0.append($1) }
            }
        }
        #expect(results.count == users.count)
        var appended: Set<String> = []
        for (user, result) in results {
            switch result {
            case .success(let outcome):
                #expect(outcome == .appended)
                appended.insert(user)
            case .failure(let error): #expect((error as? StorageError)?.code == .closed)
            }
        }
        // Two groups and a part of one. Some may have come after the end.
        #expect(appended.count > 8192)
        let again = try await SQLiteStorage(path: path)
        #expect(Set(try await again.journalledUsers()) == appended)
        await again.close()
    }
}
