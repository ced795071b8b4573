import Foundation
import LoRA
import Personalization
import Reasoning
import StorageTesting
import TensorCore
import TestSupport
import Testing

@testable import SQLiteStorage

/// Users who started from what a bank in a file had made, when one of its donors is forgotten.
@Suite("Users who started from a bank's start", .timeLimit(.minutes(10)))
struct BankStarterTests {
    let clock = StillClock(now: Timestamp(microseconds: 1_800_000_000_000_000))
    let policy = ConsolidationPolicy()

    private func engine(
        _ storage: SQLiteStorage, _ bank: SQLiteReasoningBank?, replaysStarters: Bool = false
    ) throws -> PersonalizationEngine {
        var configuration = EngineConfiguration(
            dimension: 32, rank: 4, replaysStarters: replaysStarters, reasoningBank: bank)
        configuration.reasoning.deadline = .seconds(60)
        configuration.reasoning.restartsAfter = []
        return try PersonalizationEngine(configuration: configuration, store: storage, journal: storage)
    }

    private func learn(_ engine: PersonalizationEngine, _ user: String, _ steps: Range<Int>) async throws {
        for step in steps {
            var generator = PhiloxGenerator(seed: UInt64(step), stream: 7, purpose: .simulation)
            func vector() -> [Float] { (0..<32).map { _ in generator.uniform(in: Float(-0.5)..<0.5) } }
            let batch = [Feedback(embedding: vector(), signal: .ranking(.vector(vector()), among: [.vector(vector())]))]
            try await engine.updateAdapter(
                for: user, with: batch, overrides: UpdateOverrides(learningRate: 0.1, clipThreshold: 1),
                id: FeedbackID("\(step)"))
        }
    }

    private func priors(_ storage: SQLiteStorage) async throws -> Set<UInt64> {
        try await storage.reading("test") { connection in
            var all: Set<UInt64> = []
            try connection.run("SELECT hash FROM contents WHERE kind = 1", []) { all.insert($0.version(0)) }
            return all
        }
    }

    @Test("become, to the byte, those of a file that never saw the donor")
    func areMadeAgain() async throws {
        let folder = try TemporaryFolder()
        // Two files with one key, or users' digests would differ, and with them the order of donors.
        let paths = (folder.newPath(), folder.newPath())
        let empty = try await SQLiteStorage(path: paths.0)
        await empty.close()
        try FileManager.default.copyItem(atPath: paths.0, toPath: paths.1)
        let storages = (try await SQLiteStorage(path: paths.0), try await SQLiteStorage(path: paths.1))
        var builder = EpisodeBuilder.dayBefore(clock.now)
        builder.model = StableHash.hash("unnamed")
        builder.key = try #require(storages.0.digestKey)
        try #require(storages.1.digestKey == builder.key)
        let donors = try PlantedDonors(
            builder,
            [.init(name: "a", taste: 3, users: 12, gain: 0.3), .init(name: "b", taste: 20, users: 9, gain: 0.2)])
        let donor = donors.digest("a 3")
        let banks = (
            try await SQLiteReasoningBank(storages.0, clock: clock),
            try await SQLiteReasoningBank(storages.1, clock: clock)
        )
        try await donors.fill(banks.0)
        try await donors.fill(banks.1, without: donor)
        for bank in [banks.0, banks.1] { _ = try await bank.autoConsolidate(policy, donors: donors) }
        let engines = (try engine(storages.0, banks.0), try engine(storages.1, banks.1))
        for engine in [engines.0, engines.1] {
            for user in ["zoe", "max"] {
                try await engine.createAdapter(for: user)
                try await learn(engine, user, 0..<4)
            }
            #expect(try await engine.adapter(for: "zoe")?.startedFrom != nil)
            engine.disconnectReasoningBank()
        }
        let before = try await priors(storages.0)
        _ = try await storages.0.removeEntries(of: "a 3", isForgotten: true)
        let report = try await banks.0.forget(donor, donors: donors)
        let stale = try await engines.0.stalePriors()
        #expect(stale.count == 1 && stale.first?.users == ["max", "zoe"])
        let replay = try await engines.0.replayStarters(of: stale, after: report)
        #expect(replay.replayed == ["max", "zoe"] && replay.left.isEmpty)
        for user in ["max", "zoe"] {
            let made = try #require(try await engines.0.adapter(for: user))
            var expected = try #require(try await engines.1.adapter(for: user))
            #expect(made.version == expected.version + 1)
            expected.version = made.version
            #expect(made.snapshot() == expected.snapshot())
        }
        // What the file has of priors is what the other has: the old ones' bytes are gone.
        let left = try await priors(storages.0)
        let expected = try await priors(storages.1)
        #expect(left == expected)
        #expect(left.isDisjoint(with: before), "\(before)")
        #expect(try await engines.0.stalePriors().isEmpty)
        let verification = try await JournalVerification.run(storages.0, storages.0)
        #expect(verification.mismatches.isEmpty && verification.users == 2)
        // Opened again it is the same, and goes on the same.
        for engine in [engines.0, engines.1] { _ = try await engine.shutdown() }
        for storage in [storages.0, storages.1] { await storage.close() }
        var snapshots: [[UInt8]] = []
        for path in [paths.0, paths.1] {
            let storage = try await SQLiteStorage(path: path)
            let engine = try engine(storage, nil)
            try await learn(engine, "zoe", 4..<6)
            var adapter = try #require(try await engine.adapter(for: "zoe"))
            adapter.version = 99
            snapshots.append(adapter.snapshot())
            await storage.close()
        }
        #expect(snapshots[0] == snapshots[1])
    }

    @Test(
        "may start from what was made before a piece of feedback was learned that is forgotten, and from nothing made after"
    )
    func versionsOfDonorsAreKnown() async throws {
        let folder = try TemporaryFolder()
        let (storage, bank, engine) = try await twelve(folder.newPath())
        let key = try #require(storage.digestKey)
        func consolidate() async throws -> ConsolidationReport {
            try await bank.autoConsolidate(policy, donors: try await JournalDonors(storage, storage, key: key))
        }
        #expect(try await consolidate().populationDonors == 12)
        let starts = try await storage.priors(from: "a 3")
        #expect(starts.count == 2 && starts.allSatisfy { $0.version == 3 && !$0.isStale })
        try await learn(engine, "a 3", 3..<5)
        // Learned as version 4, after the merge.
        #expect(try await engine.forgetFeedback(FeedbackID("3"), of: "a 3").stalePriors.isEmpty)
        #expect(try await storage.priors(from: "a 3").allSatisfy { !$0.isStale })
        let receipt = try await engine.forgetFeedback(FeedbackID("1"), of: "a 3")
        #expect(Set(receipt.stalePriors.map(\.hash)) == Set(starts.map(\.hash)))
        #expect(try await consolidate().populationDonors == 12)
        let again = try await storage.priors(from: "a 3").filter { !$0.isStale }
        #expect(again.count == 2 && again.allSatisfy { $0.version == 7 })
        _ = try await engine.shutdown()
        await storage.close()
    }

    /// Twelve users whose adapters are saved and whose episodes are in the file's bank; the engine has none.
    private func twelve(
        _ path: String, replaysStarters: Bool = false
    ) async throws -> (storage: SQLiteStorage, bank: SQLiteReasoningBank, engine: PersonalizationEngine) {
        let storage = try await SQLiteStorage(path: path)
        var builder = EpisodeBuilder.dayBefore(clock.now)
        builder.model = StableHash.hash("unnamed")
        builder.key = try #require(storage.digestKey)
        let planted = try PlantedDonors(builder, [.init(name: "a", taste: 3, users: 12, gain: 0.3)])
        let bank = try await SQLiteReasoningBank(storage, clock: clock)
        try await planted.fill(bank)
        let engine = try engine(storage, nil, replaysStarters: replaysStarters)
        for i in 0..<12 { try await learn(engine, "a \(i)", 0..<3) }
        try await engine.checkpoint()
        return (storage, bank, engine)
    }

    /// A file with twelve users who have learned and given to a bank's starts, and one who started from them.
    private func taught(
        _ path: String, replaysStarters: Bool = false
    ) async throws -> (storage: SQLiteStorage, engine: PersonalizationEngine) {
        let (storage, bank, engine) = try await twelve(path, replaysStarters: replaysStarters)
        let key = try #require(storage.digestKey)
        _ = try await bank.autoConsolidate(policy, donors: try await JournalDonors(storage, storage, key: key))
        engine.connectReasoningBank(bank)
        try await engine.createAdapter(for: "zoe")
        engine.disconnectReasoningBank()
        try await learn(engine, "zoe", 0..<3)
        try #require(try await engine.adapter(for: "zoe")?.startedFrom != nil)
        return (storage, engine)
    }

    @Test("are made again without a start that the bank gives out still, which stays until it is made again")
    func theBankKeepsItsStarts() async throws {
        let folder = try TemporaryFolder()
        let path = folder.newPath()
        let (storage, engine) = try await taught(path)
        let receipt = try await engine.forgetFeedback(FeedbackID("1"), of: "a 3")
        #expect(receipt.stalePriors.count == 2)
        let stale = Set(receipt.stalePriors.map(\.hash))
        #expect(try await engine.replayStarters(of: receipt.stalePriors).replayed == ["zoe"])
        #expect(try await engine.adapter(for: "zoe")?.startedFrom == nil)
        #expect(try await priors(storage).isSuperset(of: stale))
        let bank = try await SQLiteReasoningBank(storage, clock: clock)
        #expect(bank.skills.count == 1)
        let key = try #require(storage.digestKey)
        _ = try await bank.autoConsolidate(policy, donors: try await JournalDonors(storage, storage, key: key))
        #expect(try await priors(storage).isDisjoint(with: stale))
        _ = try await engine.shutdown()
        await storage.close()
    }

    @Test("are made again where no bank is open, and the bank forgets when it is")
    func withoutTheBank() async throws {
        let folder = try TemporaryFolder()
        let path = folder.newPath()
        let (storage, engine) = try await taught(path, replaysStarters: true)
        let before = try await priors(storage)
        let receipt = try await engine.forget("a 3")
        #expect(receipt.starters.replayed == ["zoe"] && receipt.bank == nil)
        #expect(try await engine.adapter(for: "zoe")?.startedFrom == nil)
        _ = try await engine.shutdown()
        await storage.close()
        let again = try await SQLiteStorage(path: path)
        let bank = try await SQLiteReasoningBank(again, clock: clock)
        #expect(bank.skills.isEmpty && bank.episodeCount == 22)
        #expect(try await priors(again).isDisjoint(with: before))
        await again.close()
    }

    /// A source in whose midst something happens, once.
    private final class Interrupted: DonorSource {
        private let source: any DonorSource
        private let event: @Sendable () async throws -> Void
        private let asked = Lock<Int>(0)
        private let at: Int

        init(_ source: any DonorSource, at: Int, _ event: @escaping @Sendable () async throws -> Void) {
            (self.source, self.at, self.event) = (source, at, event)
        }

        func adapter(of user: UserDigest) async throws -> LoRAAdapter? {
            let number = asked.withLock { asked -> Int in
                asked += 1
                return asked
            }
            let adapter = try await source.adapter(of: user)
            if number == at { try await event() }
            return adapter
        }
    }

    @Test("may not start from what the bank has let go of, though an answer of before names it")
    func droppedStarts() async throws {
        let folder = try TemporaryFolder()
        let (storage, engine) = try await taught(folder.newPath())
        let bank = try await SQLiteReasoningBank(storage, clock: clock)
        func consolidate() async throws -> Set<UInt64> {
            let donors = try await JournalDonors(storage, storage, key: try #require(storage.digestKey))
            _ = try await bank.autoConsolidate(policy, donors: donors)
            return try await priors(storage)
        }
        let before = try await consolidate()
        try await learn(engine, "a 3", 100..<101)
        let after = try await consolidate()
        let gone = before.subtracting(after)
        #expect(!gone.isEmpty && !after.isEmpty)
        for hash in gone { #expect(try await storage.recordStart(of: "zoe", from: hash) == false) }
        for hash in after { #expect(try await storage.recordStart(of: "zoe", from: hash)) }
        _ = try await engine.shutdown()
        await storage.close()
    }

    @Test("may not start from what was made while its donor forgot feedback")
    func forgettingWhileStartsAreMade() async throws {
        let folder = try TemporaryFolder()
        let (storage, engine) = try await taught(folder.newPath())
        let bank = try await SQLiteReasoningBank(storage, clock: clock)
        let donors = try await JournalDonors(storage, storage, key: try #require(storage.digestKey))
        // In the midst of the merge, all sizes are known and some adapters are added.
        let source = Interrupted(donors, at: 20) {
            for i in 0..<12 { _ = try await engine.forgetFeedback(FeedbackID("0"), of: "a \(i)") }
        }
        _ = try await bank.autoConsolidate(policy, donors: source)
        let starts = try await storage.priors(from: "a 3")
        #expect(!starts.isEmpty && starts.allSatisfy(\.isStale))
        let next = try await JournalDonors(storage, storage, key: try #require(storage.digestKey))
        _ = try await bank.autoConsolidate(policy, donors: next)
        #expect(try await storage.priors(from: "a 3").contains { !$0.isStale })
        _ = try await engine.shutdown()
        await storage.close()
    }

    @Test("are served by an engine that knows users as the file does, and by no other")
    func oneKey() async throws {
        let folder = try TemporaryFolder()
        let storage = try await SQLiteStorage(path: folder.newPath())
        let bank = try await SQLiteReasoningBank(storage)
        var configuration = EngineConfiguration(dimension: 32, rank: 4, reasoningBank: bank)
        configuration.reasoning.digestKey = DigestKey(1, 2)
        let error = #expect(throws: EngineError.self) {
            try PersonalizationEngine(configuration: configuration, store: storage, journal: storage)
        }
        #expect(error?.code == .invalidConfiguration && error?.message.contains("digestKey") == true)
        await storage.close()
    }
}
