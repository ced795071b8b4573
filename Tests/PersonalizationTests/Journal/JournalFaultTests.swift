import LoRA
import StorageTesting
import TensorCore
import Testing

@testable import Personalization

/// A journal that fails, refuses, hangs or answers late, as a test says.
final class FaultyJournal: FeedbackJournal {
    struct Fault: Error {}
    enum Behaviour: Sendable { case works, fails, waits }

    let inner = InMemoryFeedbackJournal()
    private let behaviour = Lock<Behaviour>(.works)
    private let waiting = Lock<[CheckedContinuation<Void, Never>]>([])
    private let passes = Lock<Bool>(false)
    private let failsToRewrite = Lock<Bool>(false)
    private let looksSlowly = Lock<Bool>(false)

    /// Whoever hangs now goes on hanging; who comes from now on goes through.
    func passNext() { passes.withLock { $0 = true } }

    func set(_ next: Behaviour) {
        behaviour.withLock { $0 = next }
        for continuation in waiting.withLock({ waiting in
            defer { waiting.removeAll() }
            return waiting
        }) { continuation.resume() }
    }

    func failRewriting(_ fails: Bool) { failsToRewrite.withLock { $0 = fails } }

    /// Makes whoever looks for old entries wait for the next ``set(_:)``.
    func lookSlowly() { looksSlowly.withLock { $0 = true } }

    var isWaitedFor: Bool { waiting.withLock { !$0.isEmpty } }

    func append(
        _ entry: JournalEntry, durability: Durability, position: StreamPosition?
    ) async throws -> AppendOutcome {
        try await behave()
        return try await inner.append(entry, durability: durability, position: position)
    }

    func position(in stream: String) async throws -> Int64 { try await inner.position(in: stream) }
    func record(_ position: StreamPosition, durability: Durability) async throws {
        try await behave()
        try await inner.record(position, durability: durability)
    }

    private func behave() async throws {
        switch passes.withLock({ $0 }) ? .works : behaviour.withLock({ $0 }) {
        case .works: break
        case .fails: throw Fault()
        case .waits:
            await withCheckedContinuation { continuation in waiting.withLock { $0.append(continuation) } }
            if case .fails = behaviour.withLock({ $0 }) { throw Fault() }
        }
    }

    func entries(of user: String, after version: UInt64?) async throws -> [JournalEntry] {
        try await inner.entries(of: user, after: version)
    }
    func journalledUsers() async throws -> [String] { try await inner.journalledUsers() }
    func users(withFirstEntryBefore moment: Int64) async throws -> [String] {
        if looksSlowly.withLock({ $0 }) {
            await withCheckedContinuation { continuation in waiting.withLock { $0.append(continuation) } }
        }
        return try await inner.users(withFirstEntryBefore: moment)
    }
    func withLastVersions(_ body: ([LastVersion]) async throws -> Void) async throws {
        try await inner.withLastVersions(body)
    }
    func base(of user: String) async throws -> StoredAdapter? { try await inner.base(of: user) }
    func keep(_ content: JournalContent) async throws { try await inner.keep(content) }
    func content(_ kind: JournalContent.Kind, _ hash: UInt64) async throws -> [UInt8]? {
        try await inner.content(kind, hash)
    }
    func trim(_ base: StoredAdapter) async throws { try await inner.trim(base) }
    func rewrite(_ rewriting: JournalRewriting) async throws {
        if failsToRewrite.withLock({ $0 }) { throw Fault() }
        try await inner.rewrite(rewriting)
    }
    func removeEntries(of user: String, isForgotten: Bool) async throws -> Int {
        try await inner.removeEntries(of: user, isForgotten: isForgotten)
    }
    func erase() async throws { try await inner.erase() }
    func readmit(_ user: String) async throws -> Bool { try await inner.readmit(user) }
    func recordDonors(_ donors: [PriorDonor], of prior: UInt64) async throws {
        try await behave()
        try await inner.recordDonors(donors, of: prior)
    }
    func recordStart(of user: String, from prior: UInt64) async throws -> Bool {
        try await inner.recordStart(of: user, from: prior)
    }
    func priors(from user: String) async throws -> [DerivedPrior] { try await inner.priors(from: user) }
    func isStale(_ prior: UInt64) async throws -> Bool { try await inner.isStale(prior) }
    func stalePriors() async throws -> [StalePrior] { try await inner.stalePriors() }
}

struct JournalFaultTests {
    private let user = "ada"

    private func engine(_ journal: FaultyJournal, _ script: Script) throws -> PersonalizationEngine {
        try PersonalizationEngine(configuration: script.configuration(), journal: journal)
    }

    @Test func anUpdateThatTheJournalRefusesNeverWas() async throws {
        let script = try Script()
        let journal = FaultyJournal()
        let engine = try engine(journal, script)
        journal.set(.fails)
        // The first update makes no adapter either.
        let first = await #expect(throws: EngineError.self) {
            try await engine.updateAdapter(for: user, with: [script.one(.ranking, user, 0)])
        }
        #expect(first?.code == .journalFailed && first?.cause is FaultyJournal.Fault)
        #expect(try await engine.adapter(for: user) == nil)
        journal.set(.works)
        for step in 0..<3 { try await engine.updateAdapter(for: user, with: [script.one(.ranking, user, step)]) }
        let before = try await engine.adapter(for: user)?.snapshot()
        journal.set(.fails)
        await #expect(throws: EngineError.self) {
            try await engine.updateAdapter(for: user, with: [script.one(.ranking, user, 3)])
        }
        #expect(try await engine.adapter(for: user)?.snapshot() == before)
        #expect(engine.statistics().unsavedAdapters == 1)
        journal.set(.works)
        let report = try await engine.updateAdapter(for: user, with: [script.one(.ranking, user, 3)])
        #expect(report.version == 4)
        #expect(try await journal.inner.entries(of: user, after: nil).map(\.version) == [1, 2, 3, 4])
    }

    @Test func readersSeeAnUpdateWhenTheJournalHasIt() async throws {
        let script = try Script()
        let journal = FaultyJournal()
        let engine = try engine(journal, script)
        let handle = try engine.handle(for: user)
        try await engine.updateAdapter(for: user, with: [script.one(.ranking, user, 0)])
        let x = script.one(.ranking, user, 9).embedding
        let before = try await engine.personalize(x, for: user)
        for isFailing in [true, false] {
            journal.set(.waits)
            let update = Task { try await engine.updateAdapter(for: user, with: [script.one(.ranking, user, 1)]) }
            while !journal.isWaitedFor { await Task.yield() }
            // On its way: nobody waits for it, and nobody sees it.
            #expect(try await engine.personalize(x, for: user) == before)
            var output: [Float] = []
            #expect(try await engine.personalize(x, for: handle, into: &output).version == 1)
            #expect(output == before.embedding)
            #expect(try await engine.adapter(for: user)?.version == 1)
            // Cancelled too late: it counts.
            update.cancel()
            journal.set(isFailing ? .fails : .works)
            if isFailing {
                await #expect(throws: EngineError.self) { try await update.value }
                #expect(try await engine.personalize(x, for: user) == before)
            } else {
                #expect(try await update.value.version == 2)
                #expect(try await engine.personalize(x, for: user).version == 2)
            }
        }
    }

    @Test func aCheckpointSavesWhatReadersSee() async throws {
        let script = try Script()
        let journal = FaultyJournal()
        let store = InMemoryAdapterStore()
        let engine = try PersonalizationEngine(configuration: script.configuration(), store: store, journal: journal)
        try await engine.updateAdapter(for: user, with: [script.one(.ranking, user, 0)])
        journal.set(.waits)
        let update = Task { try await engine.updateAdapter(for: user, with: [script.one(.ranking, user, 1)]) }
        while !journal.isWaitedFor { await Task.yield() }
        #expect(try await engine.checkpoint() == 1)
        #expect(try await store.load(user)?.adapter.version == 1)
        journal.set(.works)
        #expect(try await update.value.version == 2)
        #expect(try await engine.checkpoint() == 1)
        #expect(try await store.load(user)?.adapter.version == 2)
    }

    @Test func twoEnginesOfOneJournalNeverBothWin() async throws {
        let script = try Script()
        let journal = InMemoryFeedbackJournal()
        let engines = try (0..<2).map { _ in
            try PersonalizationEngine(configuration: script.configuration(), journal: journal)
        }
        try await engines[0].updateAdapter(for: user, with: [script.one(.ranking, user, 0)])
        try await engines[1].updateAdapter(for: user, with: [script.one(.ranking, user, 1)])
        let stale = await #expect(throws: EngineError.self) {
            try await engines[0].updateAdapter(for: user, with: [script.one(.ranking, user, 2)])
        }
        #expect(stale?.code == .staleVersion)
        // It has looked again, and goes on from there.
        #expect(try await engines[0].updateAdapter(for: user, with: [script.one(.ranking, user, 2)]).version == 3)
        let journalled = try PersonalizationEngine(configuration: script.configuration(), journal: journal)
        let expected = try await engines[0].adapter(for: user)?.snapshot()
        #expect(try await journalled.adapter(for: user)?.snapshot() == expected)
    }

    /// What is refused leaves the numbers as they were, too.
    @Test func statisticsCountWhatStands() async throws {
        let script = try Script()
        let journal = FaultyJournal()
        let engine = try engine(journal, script)
        let batch = [script.one(.ranking, user, 0)]
        journal.set(.fails)
        await #expect(throws: EngineError.self) { try await engine.updateAdapter(for: user, with: batch) }
        await #expect(throws: EngineError.self) { try await engine.createAdapter(for: user) }
        #expect(engine.statistics().created == 0 && engine.statistics().updates == 0)
        journal.set(.works)
        try await engine.updateAdapter(for: user, with: batch, id: FeedbackID("a"))
        try await engine.updateAdapter(for: user, with: batch, id: FeedbackID("a"))
        #expect(engine.statistics().created == 1 && engine.statistics().updates == 1)
        try await engine.forget(user)
        await #expect(throws: EngineError.self) { try await engine.updateAdapter(for: user, with: batch) }
        #expect(engine.statistics().created == 1 && engine.statistics().updates == 1)
    }

    /// A prior that is zero gives a cold start, and anchors it where there is protection.
    @Test func startsFromNothingAreReplayed() async throws {
        let script = try Script()
        var update = script.plain
        update.elasticWeightConsolidation = ElasticWeightConsolidation(strength: 0.5)
        let journal = InMemoryFeedbackJournal()
        func engine() throws -> PersonalizationEngine {
            try PersonalizationEngine(configuration: script.configuration(update: update), journal: journal)
        }
        let first = try engine()
        let zero = try AdapterPrior(merging: [(try script.cold("nobody"), 1)], rank: script.rank)
        try await first.createAdapter(for: user, startingFrom: zero)
        for step in 0..<3 { try await first.updateAdapter(for: user, with: [script.one(.ranking, user, step)]) }
        let expected = try await first.adapter(for: user)?.snapshot()
        #expect(try await engine().adapter(for: user)?.snapshot() == expected)
    }

    @Test func durabilityNeedsAJournal() throws {
        let script = try Script()
        var configuration = script.configuration()
        #expect(try PersonalizationEngine(configuration: configuration).configuration.durability == Durability.none)
        let journal = InMemoryFeedbackJournal()
        let engine = try PersonalizationEngine(configuration: configuration, journal: journal)
        #expect(engine.configuration.durability == .buffered)
        configuration.durability = .synced
        #expect(throws: EngineError.self) { try PersonalizationEngine(configuration: configuration) }
    }

    @Test func damagedEntriesAreNamed() async throws {
        let script = try Script()
        let journal = InMemoryFeedbackJournal()
        let engine = try PersonalizationEngine(configuration: script.configuration(), journal: journal)
        for step in 0..<3 { try await engine.updateAdapter(for: user, with: [script.one(.ranking, user, step)]) }
        let entries = try await journal.entries(of: user, after: nil)
        var generator = PhiloxGenerator(seed: 3, stream: 1, purpose: .general)
        var refused = 0
        for _ in 0..<400 {
            let other = InMemoryFeedbackJournal()
            for kind in JournalContent.Kind.allCases where kind == .configuration {
                let hash = try JournalAction(encoded: entries[0].action).configuration
                let bytes = try #require(try await journal.content(kind, hash))
                try await other.keep(JournalContent(kind: kind, hash: hash, bytes: bytes))
            }
            for var entry in entries {
                if entry.version == 2 {
                    let place = Int(generator.uniformFloat() * Float(entry.action.count))
                    if generator.uniformFloat() < 0.5 {
                        entry.action.removeLast(entry.action.count - place)
                    } else {
                        entry.action[place] ^= 1 << UInt8(generator.uniformFloat() * 8)
                    }
                }
                _ = try await other.append(entry, durability: .buffered)
            }
            let next = try PersonalizationEngine(configuration: script.configuration(), journal: other)
            do {
                // A flipped bit of a number that is learned from is another number; whole files have checksums for that.
                #expect(try await next.adapter(for: user)?.version == 3)
            } catch let error as EngineError {
                #expect(
                    [.damagedJournal, .numericsMismatch, .shapeMismatch, .modelMismatch].contains(error.code),
                    "\(error)")
                refused += 1
            }
        }
        #expect(refused > 150)
    }
}
