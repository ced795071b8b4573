import LoRA
import Personalization
import TensorCore
import Testing
import TestSupport

@testable import SQLiteStorage

/// What a storage should say: the journal in memory, and what a storage has besides it.
private struct Model {
    let journal = InMemoryFeedbackJournal()
    var saved: [String: StoredAdapter] = [:]

    func overview(_ users: [String]) async throws -> [StoredUser] {
        var all: [StoredUser] = []
        for user in users {
            let entries = try await journal.entries(of: user, after: nil)
            let hasBase = try await journal.base(of: user) != nil
            if entries.isEmpty, !hasBase, saved[user] == nil { continue }
            all.append(
                StoredUser(
                    user: user, version: saved[user]?.adapter.version, entries: entries.count,
                    bytes: entries.reduce(0) { $0 + $1.action.count } + (saved[user]?.adapter.snapshot().count ?? 0)))
        }
        return all
    }

    /// The highest version of a user's entries and base.
    func last(_ user: String) async throws -> UInt64 {
        max(
            try await journal.entries(of: user, after: nil).last?.version ?? 0,
            try await journal.base(of: user)?.adapter.version ?? 0)
    }
}

/// What became of a call, so that two can be compared.
private enum Outcome: Equatable {
    case done(AppendOutcome)
    case refused(EngineError.Code)

    init(_ call: () async throws -> AppendOutcome) async throws {
        do {
            self = .done(try await call())
        } catch let error as EngineError {
            self = .refused(error.code)
        }
    }
}

@Suite("Recent and settled entries against a model", .timeLimit(.minutes(10)))
struct JournalModelTests {
    private static let users = ["", "a", "b", "\u{E9}", "用户"].map { "user " + $0 }
    private static let priors = 6

    private final class Run {
        let path: String
        let seed: UInt64
        var dice: PhiloxGenerator
        var storage: SQLiteStorage
        let reader: SQLiteStorage
        var model = Model()
        var log: [String] = []
        private let shape: AdapterShape

        init(_ folder: TemporaryFolder, seed: UInt64) async throws {
            path = folder.newPath()
            self.seed = seed
            dice = PhiloxGenerator(seed: seed, purpose: .simulation)
            storage = try await SQLiteStorage(path: path)
            reader = try await SQLiteStorage(path: path, access: .reading)
            shape = try AdapterShape(dimension: 3, rank: 1)
        }

        func adapter(_ user: String, _ version: UInt64) -> StoredAdapter {
            var adapter = LoRAAdapter(shape: shape, identity: AdapterIdentity(seed: seed, user: user))
            adapter.version = version
            return StoredAdapter(user: user, embeddingModel: "test", adapter: adapter, isJournalled: true)
        }

        func action() -> [UInt8] { (0..<dice.integer(below: 40)).map { _ in UInt8(dice.integer(below: 256)) } }

        /// A number of few, so that the same come again.
        func id() -> FeedbackID? { dice.bernoulli(0.3) ? nil : FeedbackID("event \(dice.integer(below: 60))") }

        func append(_ user: String) async throws {
            let last = try await model.last(user)
            // Now and then one that is not above the last.
            let version = dice.bernoulli(0.1) ? last : last + 1 + UInt64(dice.integer(below: 3))
            let entry = JournalEntry(
                user: user, version: version, id: id(), recordedAt: Int64(log.count), action: action())
            let durability: Durability = dice.bernoulli(0.2) ? .synced : .buffered
            log.append("append \(user) \(version) \(entry.id?.description ?? "-")")
            let expected = try await Outcome { try await model.journal.append(entry, durability: durability) }
            let isBatch = dice.bernoulli(0.3)
            let outcome = try await Outcome {
                if isBatch { return try await storage.append([entry], durability: durability)[0].get() }
                return try await storage.append(entry, durability: durability)
            }
            try #require(outcome == expected, "\(trail)")
        }

        func trim(_ user: String) async throws {
            let entries = try await model.journal.entries(of: user, after: nil)
            guard !entries.isEmpty else { return }
            let version = entries[dice.integer(below: entries.count)].version
            log.append("trim \(user) \(version)")
            let base = adapter(user, version)
            try await model.journal.trim(base)
            try await storage.trim(base)
        }

        func rewrite(_ user: String) async throws {
            let entries = try await model.journal.entries(of: user, after: nil)
            guard let last = entries.last else { return }
            let removed = entries[dice.integer(below: entries.count)]
            var replacement: JournalEntry?
            if dice.bernoulli(0.5) {
                replacement = removed
                replacement?.action = action()
                if dice.bernoulli(0.5) { replacement?.id = nil }
            }
            let correction = JournalEntry(
                user: user, version: last.version + 1, recordedAt: last.recordedAt, action: action())
            log.append("rewrite \(user) \(removed.version), \(replacement == nil ? "removed" : "replaced")")
            let record = adapter(user, correction.version)
            let rewriting = JournalRewriting(
                removed: removed, replacement: replacement, correction: correction, adapter: record)
            try await model.journal.rewrite(rewriting)
            try await storage.rewrite(rewriting)
            model.saved[user] = record
        }

        func remove(_ user: String) async throws {
            let isForgotten = dice.bernoulli(0.5)
            log.append("remove \(user), \(isForgotten ? "forgotten" : "not forgotten")")
            let expected = try await model.journal.removeEntries(of: user, isForgotten: isForgotten)
            try #require(try await storage.removeEntries(of: user, isForgotten: isForgotten) == expected, "\(trail)")
            model.saved[user] = nil
        }

        func save(_ user: String) async throws {
            let last = try await model.last(user)
            guard last > 0 else { return }
            log.append("save \(user) \(last)")
            let record = adapter(user, last)
            try await storage.save([record])
            model.saved[user] = record
        }

        /// A prior of few is merged from a user, or a user starts from it.
        func merge(_ user: String) async throws {
            let prior = UInt64(dice.integer(below: JournalModelTests.priors))
            if dice.bernoulli(0.5) {
                let donor = PriorDonor(user: user, version: try await model.last(user))
                log.append("donor \(user) \(donor.version) of \(prior)")
                try await model.journal.recordDonors([donor], of: prior)
                try await storage.recordDonors([donor], of: prior)
            } else {
                log.append("start \(user) from \(prior)")
                let expected = try await model.journal.recordStart(of: user, from: prior)
                try #require(try await storage.recordStart(of: user, from: prior) == expected, "\(trail)")
            }
        }

        func step() async throws {
            let user = JournalModelTests.users[dice.integer(below: JournalModelTests.users.count)]
            switch dice.integer(below: 26) {
            case 0: try await trim(user)
            case 1, 2: try await rewrite(user)
            case 3: try await remove(user)
            case 4, 5:
                log.append("readmit \(user)")
                let expected = try await model.journal.readmit(user)
                try #require(try await storage.readmit(user) == expected, "\(trail)")
            case 6, 7, 8:
                log.append("settle")
                try await storage.settle()
            case 9:
                log.append("reopen")
                await storage.close()
                storage = try await SQLiteStorage(path: path)
            case 10: try await save(user)
            case 11:
                log.append("erase")
                try await storage.erase()
            case 12, 13: try await merge(user)
            default: try await append(user)
            }
        }

        /// Compares all that can be asked, of the storage that writes and of the one that has been reading all the time.
        func compare() async throws {
            let users = try await model.journal.journalledUsers()
            let overview = try await model.overview(JournalModelTests.users)
            let after = UInt64(dice.integer(below: 40))
            for (name, storage) in [("writing", storage), ("reading", reader)] {
                try #require(try await storage.journalledUsers() == users, "\(name): \(trail)")
                try #require(try await storage.usersOverview() == overview, "\(name): \(trail)")
                let moment = Int64(dice.integer(below: log.count + 2))
                let early = try await model.journal.users(withFirstEntryBefore: moment)
                try #require(try await storage.users(withFirstEntryBefore: moment) == early, "\(name): \(trail)")
                for prior in 0..<UInt64(JournalModelTests.priors) {
                    let isStale = try await model.journal.isStale(prior)
                    try #require(try await storage.isStale(prior) == isStale, "\(name), \(prior): \(trail)")
                }
                for user in JournalModelTests.users {
                    let priors = try await model.journal.priors(from: user)
                    try #require(try await storage.priors(from: user) == priors, "\(name), \(user): \(trail)")
                    let entries = try await model.journal.entries(of: user, after: nil)
                    try #require(
                        try await storage.entries(of: user, after: nil) == entries, "\(name), \(user): \(trail)")
                    let rest = try await model.journal.entries(of: user, after: after)
                    try #require(
                        try await storage.entries(of: user, after: after) == rest, "\(name), \(user): \(trail)")
                    let base = try await model.journal.base(of: user)?.adapter.snapshot()
                    try #require(
                        try await storage.base(of: user)?.adapter.snapshot() == base, "\(name), \(user): \(trail)")
                    let saved = model.saved[user]?.adapter.snapshot()
                    try #require(
                        try await storage.load(user)?.adapter.snapshot() == saved, "\(name), \(user): \(trail)")
                }
            }
        }

        var trail: String { "seed \(seed), step \(log.count): \(log.suffix(12).joined(separator: "; "))" }
    }

    @Test("whatever is done in whatever order, both storages say what the model says", arguments: 0..<12)
    func agrees(number: Int) async throws {
        let seed = UInt64.random(in: 0...UInt64.max)
        print("journal against its model, seed \(seed)")
        let folder = try TemporaryFolder()
        let run = try await Run(folder, seed: seed)
        for _ in 0..<underSanitizer(40, otherwise: 250) {
            try await run.step()
            try await run.compare()
        }
        await run.storage.close()
        await run.reader.close()
    }
}
