import Personalization
import StorageTesting
import TensorCore
import Testing

@testable import SQLiteStorage

/// A storage that settles before and after appends, as often as it is told to.
private final class SettlingJournal: FeedbackJournal {
    private let inner: SQLiteStorage
    private let dice: Lock<PhiloxGenerator>
    private let probability: Double

    init(_ inner: SQLiteStorage, probability: Double, seed: UInt64) {
        self.inner = inner
        self.probability = probability
        dice = Lock(PhiloxGenerator(seed: seed, purpose: .simulation))
    }

    private func settleByChance() async throws {
        let probability = probability
        if dice.withLock({ $0.bernoulli(probability) }) { try await inner.settle() }
    }

    func append(
        _ entry: JournalEntry, durability: Durability, position: StreamPosition?
    ) async throws -> AppendOutcome {
        let outcome = try await inner.append(entry, durability: durability, position: position)
        try await settleByChance()
        return outcome
    }
    func append(_ entries: [JournalEntry], durability: Durability) async -> [Result<AppendOutcome, any Error>] {
        let results = await inner.append(entries, durability: durability)
        do {
            try await settleByChance()
        } catch {
            return Array(repeating: .failure(error), count: entries.count)
        }
        return results
    }
    func position(in stream: String) async throws -> Int64 { try await inner.position(in: stream) }
    func record(_ position: StreamPosition, durability: Durability) async throws {
        try await inner.record(position, durability: durability)
    }
    func entries(of user: String, after version: UInt64?) async throws -> [JournalEntry] {
        try await inner.entries(of: user, after: version)
    }
    func journalledUsers() async throws -> [String] { try await inner.journalledUsers() }
    func withLastVersions(_ body: ([LastVersion]) async throws -> Void) async throws {
        try await inner.withLastVersions(body)
    }
    func base(of user: String) async throws -> StoredAdapter? { try await inner.base(of: user) }
    func keep(_ content: JournalContent) async throws { try await inner.keep(content) }
    func content(_ kind: JournalContent.Kind, _ hash: UInt64) async throws -> [UInt8]? {
        try await inner.content(kind, hash)
    }
    func trim(_ base: StoredAdapter) async throws {
        try await inner.trim(base)
        try await settleByChance()
    }
    func rewrite(_ rewriting: JournalRewriting) async throws {
        try await inner.rewrite(rewriting)
        try await settleByChance()
    }
    func removeEntries(of user: String, isForgotten: Bool) async throws -> Int {
        try await inner.removeEntries(of: user, isForgotten: isForgotten)
    }
    func erase() async throws { try await inner.erase() }
    func readmit(_ user: String) async throws -> Bool { try await inner.readmit(user) }
    func users(withFirstEntryBefore moment: Int64) async throws -> [String] {
        try await inner.users(withFirstEntryBefore: moment)
    }
    func recordDonors(_ donors: [PriorDonor], of prior: UInt64) async throws {
        try await inner.recordDonors(donors, of: prior)
        try await settleByChance()
    }
    func recordStart(of user: String, from prior: UInt64) async throws -> Bool {
        try await inner.recordStart(of: user, from: prior)
    }
    func priors(from user: String) async throws -> [DerivedPrior] { try await inner.priors(from: user) }
    func isStale(_ prior: UInt64) async throws -> Bool { try await inner.isStale(prior) }
    func stalePriors() async throws -> [StalePrior] { try await inner.stalePriors() }
}

@Suite("Contracts of a storage that settles", .timeLimit(.minutes(10)))
struct SettlingContractTests {
    @Test("a journal that settles after every append keeps every promise")
    func always() async throws {
        let folder = try TemporaryFolder()
        let violations = try await FeedbackJournalContract {
            SettlingJournal(try await folder.storage(), probability: 1, seed: 0)
        }.violations()
        #expect(violations == [])
    }

    @Test("a journal that settles now and then keeps every promise", arguments: 0..<4)
    func atRandom(run: Int) async throws {
        let seed = UInt64.random(in: 0...UInt64.max)
        print("settling at random, seed \(seed)")
        let folder = try TemporaryFolder()
        let violations = try await FeedbackJournalContract {
            SettlingJournal(try await folder.storage(), probability: 0.3, seed: seed)
        }.violations()
        #expect(violations == [], "seed \(seed)")
    }

    @Test("a batch is appended and answered as its entries one by one are")
    func batches() async throws {
        let folder = try TemporaryFolder()
        let storage = try await folder.storage()
        func entry(_ user: String, _ version: UInt64, _ id: String) -> JournalEntry {
            JournalEntry(user: user, version: version, id: FeedbackID(id), recordedAt: 1, action: [UInt8(version)])
        }
        for settles in [false, true] {
            let version: UInt64 = settles ? 3 : 1
            let first = await storage.append(
                [entry("ada", version, "\(version)"), entry("bob", version, "b")], durability: .buffered)
            #expect(try first.map { try $0.get() } == [.appended, settles ? .duplicate : .appended])
            if settles { try await storage.settle() }
            let again = await storage.append(
                [entry("ada", version, "\(version)"), entry("cy", 9, "c"), entry("bob", 1, "other")],
                durability: .synced)
            #expect(try again[0].get() == .duplicate)
            #expect(try again[1].get() == (settles ? .duplicate : .appended))
            let error = #expect(throws: EngineError.self) { try again[2].get() }
            #expect(error?.code == .staleVersion)
        }
        #expect(try await storage.journalledUsers() == ["ada", "bob", "cy"])
        #expect(try await storage.entries(of: "ada", after: nil).map(\.version) == [1, 3])
        await storage.close()
    }
}
