import Foundation
import LoRA
import Reasoning
import SQLiteStorage
import StorageTesting
import Synchronization
import TensorCore
import Testing

@testable import Personalization

/// A clock that moves when a test says so.
final class HandClock: ReasoningClock {
    private let moment = Mutex<Int64>(1_700_000_000_000_000)

    var now: Timestamp { Timestamp(microseconds: moment.withLock { $0 }) }
    var uptime: Double { Double(now.microseconds) / 1e6 }
    func advance(hours: Double) { moment.withLock { $0 += Int64(hours * 3_600_000_000) } }
}

@Suite("Retention")
struct RetentionTests {
    let folder: TemporaryFolder
    let script: ShopScript
    let clock = HandClock()

    init() throws {
        folder = try TemporaryFolder()
        script = try ShopScript()
    }

    /// What is of one engine beside it: it outlives the engine.
    enum Place: Sendable, CaseIterable { case memory, sqlite }

    /// Engines one after the other on the same journal.
    final class Shop {
        let configuration: EngineConfiguration
        let clock: HandClock
        private let path: String?
        private(set) var store: any AdapterStore
        private(set) var journal: any FeedbackJournal
        private(set) var engine: PersonalizationEngine

        init(_ path: String?, _ clock: HandClock, _ configuration: EngineConfiguration) async throws {
            self.path = path
            self.clock = clock
            self.configuration = configuration
            if let path {
                let storage = try await SQLiteStorage(path: path)
                (store, journal) = (storage, storage)
            } else {
                (store, journal) = (InMemoryAdapterStore(), InMemoryFeedbackJournal())
            }
            engine = try PersonalizationEngine(
                configuration: configuration, store: store, journal: journal, clock: clock)
        }

        /// Another engine; nothing was saved before.
        func restart() async throws {
            if let path {
                await close()
                let storage = try await SQLiteStorage(path: path)
                (store, journal) = (storage, storage)
            }
            engine = try PersonalizationEngine(
                configuration: configuration, store: store, journal: journal, clock: clock)
        }

        func close() async { await (journal as? SQLiteStorage)?.close() }
    }

    static let update = UpdateConfiguration(
        dimension: ShopScript.dimension, optimizer: .adam(), learningRates: PerObjective(all: 0.01),
        fading: PerObjective(all: 0), elasticWeightConsolidation: ElasticWeightConsolidation(strength: 0.5))

    private func shop(_ place: Place, _ retention: JournalRetention) async throws -> Shop {
        try await Shop(
            place == .sqlite ? folder.newPath() : nil, clock,
            ShopScript.configuration(Self.update, retention: retention))
    }

    static let seeds: [UInt64] = Array(1...3) + [.random(in: 1000...(.max))]

    @Test("a retention changes no adapter, and removes what is old and nothing else", arguments: seeds, Place.allCases)
    func changesNoAdapter(seed: UInt64, place: Place) async throws {
        print("retention: seed \(seed), \(place)")
        var generator = PhiloxGenerator(seed: seed, stream: 1, purpose: .simulation)
        let days = 1 + generator.integer(below: 4)
        let (all, some) = (try await shop(.memory, .all), try await shop(place, .days(days)))
        let shops = [all, some]
        let users = ["ada", "bob", "cy"]
        let prior = try await self.prior()
        var events: [String: [FeedbackID]] = [:]
        var (removed, forgotten, refused) = (0, 0, 0)

        /// Both are the same, and what the journal has is what is young enough.
        func compare(_ step: Int, afterRetention: Bool) async throws {
            let seen: Comment = "seed \(seed), \(place), step \(step), \(days) days"
            let moment = JournalRetention.moment(days: days, before: clock.now.microseconds)
            for user in users {
                if generator.integer(below: 2) == 0 || !afterRetention {
                    let expected = try await all.engine.adapter(for: user)?.snapshot()
                    #expect(try await some.engine.adapter(for: user)?.snapshot() == expected, seen)
                }
                guard afterRetention else { continue }
                let young = try await all.journal.entries(of: user, after: nil).filter { $0.recordedAt >= moment }
                #expect(try await some.journal.entries(of: user, after: nil) == young, seen)
            }
            #expect(try await JournalVerification.run(some.store, some.journal).mismatches == [], seen)
        }

        for step in 0..<160 {
            let user = users[generator.integer(below: users.count)]
            switch generator.integer(below: 20) {
            case 0: clock.advance(hours: 24 * Double(generator.uniformFloat()))
            case 1: clock.advance(hours: Double(1 + generator.integer(below: 60)))
            case 2:
                for shop in shops { try await shop.engine.checkpoint() }
            case 3:
                removed += try await some.engine.applyRetention().entries
                try await compare(step, afterRetention: true)
            case 4: try await some.restart()
            case 5: try await some.engine.unloadAdapter(for: user)
            case 6:
                for shop in shops { _ = try await shop.engine.createAdapter(for: user, startingFrom: prior) }
            case 7:
                if try await all.engine.adapter(for: user) == nil { continue }
                for shop in shops { _ = try await shop.engine.consolidateAdapter(for: user) }
            case 8, 9:
                guard let known = events[user], !known.isEmpty else { continue }
                let id = known[generator.integer(below: known.count)]
                let before = try await some.engine.adapter(for: user)?.snapshot()
                if try await some.journal.entries(of: user, after: nil).contains(where: { $0.id == id }) {
                    for shop in shops { _ = try await shop.engine.forgetFeedback(id, of: user) }
                    events[user]?.removeAll { $0 == id }
                    forgotten += 1
                } else {
                    let error = await #expect(throws: EngineError.self) {
                        try await some.engine.forgetFeedback(id, of: user)
                    }
                    #expect(error?.code == .notRetained)
                    #expect(try await some.engine.adapter(for: user)?.snapshot() == before)
                    refused += 1
                }
                // The event comes again, after it was forgotten or not.
                let again = try await some.engine.updateAdapter(for: user, with: script.batch(user, 0), id: id)
                #expect(again.samples == 0, "seed \(seed), \(place), step \(step)")
                try await compare(step, afterRetention: false)
            default:
                let id = FeedbackID("\(user) \(step)")
                for shop in shops {
                    _ = try await shop.engine.updateAdapter(for: user, with: script.batch(user, step), id: id)
                }
                events[user, default: []].append(id)
            }
        }
        clock.advance(hours: Double(24 * days))
        removed += try await some.engine.applyRetention().entries
        try await compare(160, afterRetention: true)
        try await some.restart()
        for shop in shops { _ = try await shop.engine.updateAdapter(for: "ada", with: script.batch("ada", 999)) }
        try await compare(161, afterRetention: false)
        clock.advance(hours: Double(24 * days) + 0.001)
        _ = try await some.engine.applyRetention()
        try await compare(162, afterRetention: true)
        #expect(removed > 0 && forgotten + refused > 0, "seed \(seed), \(place)")
        await some.close()
    }

    private func prior() async throws -> AdapterPrior {
        let engine = try PersonalizationEngine(configuration: ShopScript.configuration())
        for step in 0..<6 { _ = try await engine.updateAdapter(for: "donor", with: script.batch("donor", step)) }
        return try await engine.mergeAdapters(["donor": 1])
    }

    @Test("a checkpoint looks for old entries at first, and then once an hour", arguments: Place.allCases)
    func looksOnceAnHour(place: Place) async throws {
        let shop = try await shop(place, .days(1))
        func left() async throws -> Int { try await shop.journal.entries(of: "ada", after: nil).count }
        for step in 0..<3 {
            _ = try await shop.engine.updateAdapter(for: "ada", with: script.batch("ada", step))
            clock.advance(hours: 0.5)
        }
        clock.advance(hours: 22.25)
        // 23.75, 23.25 and 22.75 hours old.
        try await shop.engine.checkpoint()
        #expect(try await left() == 3)
        clock.advance(hours: 0.5)
        // One is old; the look before is half an hour ago.
        try await shop.engine.checkpoint()
        #expect(try await left() == 3)
        clock.advance(hours: 0.5)
        try await shop.engine.checkpoint()
        #expect(try await left() == 1)
        clock.advance(hours: 0.5)
        try await shop.engine.checkpoint()
        #expect(try await left() == 1)
        // What is asked for is done at once.
        let trimming = try await shop.engine.applyRetention()
        #expect(trimming.users == 1 && trimming.entries == 1 && trimming.isErased && trimming.failures == [])
        #expect(try await left() == 0)
        #expect(try await shop.engine.applyRetention() == JournalTrimming())
        _ = try await shop.engine.updateAdapter(for: "ada", with: script.batch("ada", 3))
        clock.advance(hours: 24.01)
        try await shop.restart()
        try await shop.engine.checkpoint()
        #expect(try await left() == 0)
        // Nobody has looked at the user since the restart: the base was saved, and is what there is.
        #expect(try await shop.store.load("ada")?.adapter.version == 4)
        #expect(try await shop.engine.users() == ["ada"])
        #expect(try await shop.engine.adapter(for: "ada")?.version == 4)
        await shop.close()
    }

    @Test("a full disk fails every user, with its error as the cause", .enabled(if: SmallDisk.isPossible))
    func fullDisk() async throws {
        let disk = try SmallDisk(megabytes: 2, at: folder.path + "/disk")
        let shop = try await Shop(
            disk.path + "/a.db", clock, ShopScript.configuration(Self.update, retention: .all))
        for user in ["ada", "bob"] {
            for step in 0..<3 { _ = try await shop.engine.updateAdapter(for: user, with: script.batch(user, step)) }
        }
        await shop.close()
        let storage = try await SQLiteStorage(path: disk.path + "/a.db")
        try disk.fill(disk.path + "/filler")
        let trimming = try await JournalTrimming.run(storage, storage, before: .max)
        #expect(trimming.users == 0 && trimming.failures.map(\.user).sorted() == ["ada", "bob"])
        let codes = trimming.failures.map { ($0.cause as? StorageError)?.code }
        #expect(codes.first == .full && codes.allSatisfy { [.full, .closed].contains($0) }, "\(codes)")
        await storage.close()
    }

    @Test("other retentions have nothing to remove")
    func otherRetentions() async throws {
        for retention in [JournalRetention.all, .untilCheckpoint] {
            let shop = try await shop(.sqlite, retention)
            for step in 0..<3 { _ = try await shop.engine.updateAdapter(for: "ada", with: script.batch("ada", step)) }
            clock.advance(hours: 1e5)
            #expect(try await shop.engine.applyRetention() == JournalTrimming())
            #expect(try await shop.journal.entries(of: "ada", after: nil).count == 3)
            try await shop.engine.checkpoint()
            #expect(try await shop.journal.entries(of: "ada", after: nil).count == (retention == .all ? 3 : 0))
            await shop.close()
        }
    }

    @Test("who has an adapter and no entries any more has no feedback that can be forgotten", arguments: Place.allCases)
    func refusesToForgetWhatIsGone(place: Place) async throws {
        let shop = try await shop(place, .days(1))
        for step in 0..<3 {
            _ = try await shop.engine.updateAdapter(
                for: "ada", with: script.batch("ada", step), id: FeedbackID("\(step)"))
        }
        clock.advance(hours: 25)
        #expect(try await shop.engine.applyRetention().entries == 3)
        // An adapter that no journal knows.
        let adapter = try #require(try await shop.engine.adapter(for: "ada"))
        try await shop.store.save([StoredAdapter(user: "bob", embeddingModel: "test", adapter: adapter)])
        try await shop.restart()
        func code<R>(_ body: () async throws -> R) async throws -> EngineError.Code? {
            await #expect(throws: EngineError.self) { try await body() }?.code
        }
        for (user, expected) in [
            ("ada", EngineError.Code.notRetained), ("bob", .notRetained), ("cy", .unknownFeedback),
        ] {
            let engine = shop.engine
            let told = try await code { try await engine.forgetFeedback(FeedbackID("1"), of: user) }
            #expect(told == expected, "\(user)")
        }
        let journal = shop.journal
        #expect(try await code { try await JournalVerification.configuration(of: "ada", in: journal) } == .notRetained)
        #expect(try await code { try await JournalVerification.configuration(of: "cy", in: journal) } == .unknownUser)
        #expect(try await shop.engine.adapter(for: "ada")?.snapshot() == adapter.snapshot())
        await shop.close()
    }

    @Test("entries are removed in the middle of updates of the same user")
    func inTheMiddleOfUpdates() async throws {
        let shop = try await shop(.sqlite, .days(1))
        let reference = try PersonalizationEngine(configuration: ShopScript.configuration(Self.update))
        let (engine, clock, script) = (shop.engine, clock, script)
        let end = clock.now.microseconds + 300 * 3_600_000_000
        try await withThrowingTaskGroup(of: Void.self) { group in
            group.addTask {
                for step in 0..<300 {
                    for user in ["ada", "bob"] {
                        _ = try await engine.updateAdapter(for: user, with: script.batch(user, step))
                    }
                    clock.advance(hours: 1)
                }
            }
            group.addTask {
                var removed = 0
                while clock.now.microseconds < end {
                    removed += try await engine.applyRetention().entries
                    if removed % 3 == 0 { try await engine.checkpoint() }
                }
            }
            try await group.waitForAll()
        }
        // How many went in the middle is a matter of luck; in the end those of the last 24 hours are left.
        _ = try await engine.applyRetention()
        for user in ["ada", "bob"] {
            for step in 0..<300 { _ = try await reference.updateAdapter(for: user, with: script.batch(user, step)) }
            let expected = try await reference.adapter(for: user)?.snapshot()
            #expect(try await engine.adapter(for: user)?.snapshot() == expected)
            #expect(try await shop.journal.entries(of: user, after: nil).map(\.version) == Array(277...300))
        }
        #expect(try await JournalVerification.run(shop.store, shop.journal).mismatches == [])
        try await shop.restart()
        let expected = try await reference.adapter(for: "ada")?.snapshot()
        #expect(try await shop.engine.adapter(for: "ada")?.snapshot() == expected)
        await shop.close()
    }

    @Test("the bytes of what was removed are gone from the files")
    func erases() async throws {
        let path = folder.newPath()
        let shop = try await Shop(path, clock, ShopScript.configuration(Self.update, retention: .days(7)))
        let secret = script.batch("ada", 0)[0].embedding.map { $0 * 1.25 }
        let needle = unsafe secret.withUnsafeBytes { unsafe Data($0) }
        func holdsSecret() throws -> Bool {
            for name in try FileManager.default.contentsOfDirectory(atPath: folder.path) {
                let bytes = try contents(ofFile: folder.path + "/" + name)
                if bytes.range(of: needle) != nil { return true }
            }
            return false
        }
        let feedback = Feedback(embedding: secret, signal: .target(script.batch("bob", 0)[0].embedding))
        _ = try await shop.engine.updateAdapter(for: "ada", with: [feedback])
        for step in 1..<20 { _ = try await shop.engine.updateAdapter(for: "ada", with: script.batch("ada", step)) }
        #expect(try holdsSecret())
        clock.advance(hours: 24 * 7)
        #expect(try await shop.engine.applyRetention().entries == 0)
        #expect(try holdsSecret())
        clock.advance(hours: 0.001)
        #expect(try await shop.engine.applyRetention().entries == 20)
        #expect(try !holdsSecret())
        await shop.close()
    }
}
