internal import LoRA
public import Personalization

/// What every ``FeedbackJournal`` promises, checked on any journal. Needs no test framework:
///
/// ```swift
/// let violations = try await FeedbackJournalContract { try await MyJournal() }.violations()
/// precondition(violations.isEmpty, "\(violations)")
/// ```
public struct FeedbackJournalContract: Sendable {
    /// Makes an empty journal.
    let makeJournal: @Sendable () async throws -> any FeedbackJournal

    /// A suite for journals that a closure makes, each empty; called fifteen times.
    public init(makeJournal: @escaping @Sendable () async throws -> any FeedbackJournal) {
        self.makeJournal = makeJournal
    }

    /// Checks every promise.
    ///
    /// - Returns: The promises that were broken, in the order of the checks; empty for a journal that keeps them.
    /// - Throws: What making a journal throws, and `CancellationError`. What a journal throws is a violation.
    public func violations() async throws -> [ContractViolation] {
        _ = try await makeJournal()
        let found = ContractJournal()
        let run = FeedbackJournalRun(makeJournal: makeJournal, found: found)
        try await found.check("entries come back as they were given") { try await run.checkEntries() }
        try await found.check("versions rise") { try await run.checkThatVersionsRise() }
        try await found.check("an id is learned once") { try await run.checkIDs() }
        try await found.check("entries of many users go together") { try await run.checkAppendingTogether() }
        try await found.check("positions are kept with entries") { try await run.checkPositions() }
        try await found.check("content is kept under its name") { try await run.checkContent() }
        try await found.check("trimming makes a base") { try await run.checkTrimming() }
        try await found.check("who has old entries is found") { try await run.checkAges() }
        try await found.check("last versions are known") { try await run.checkLastVersions() }
        try await found.check("rewriting is whole") { try await run.checkRewriting() }
        try await found.check("forgotten users stay forgotten") { try await run.checkForgetting() }
        try await found.check("priors know their donors") { try await run.checkPriors() }
        try await found.check("starts are replaced") { try await run.checkStarts() }
        try await found.check("all calls may be made from many tasks at once") { try await run.checkConcurrentCalls() }
        return found.violations
    }
}

/// One run over the promises; each check makes journals of its own.
struct FeedbackJournalRun: Sendable {
    let makeJournal: @Sendable () async throws -> any FeedbackJournal
    let found: ContractJournal

    func entry(_ user: String, _ version: UInt64, id: FeedbackID? = nil) -> JournalEntry {
        JournalEntry(
            user: user, version: version, id: id, recordedAt: Int64(version) * 1_000_003 - 7,
            action: Array("\(user) \(version)".utf8) + [0, 255, 0])
    }

    func expect<V: Equatable>(_ promise: String, _ value: V, is expected: V) {
        found.expect(promise, value, is: expected)
    }

    func checkAppendingTogether() async throws {
        let journal = try await makeJournal()
        expect("no entries have no outcomes", await journal.append([], durability: .buffered).count, is: 0)
        let users = (0..<300).map { "user \($0)" }
        for durability in [Durability.buffered, .synced] {
            let version: UInt64 = durability == .buffered ? 1 : 2
            let outcomes = await journal.append(users.map { entry($0, version) }, durability: durability)
            expect(
                "many are appended together", try outcomes.map { try $0.get() },
                is: Array(repeating: .appended, count: users.count))
        }
        for user in users {
            expect(
                "what was appended together comes back", try await journal.entries(of: user, after: nil),
                is: [entry(user, 1), entry(user, 2)])
        }
        // One that is refused, one that is known, one of a forgotten user: the others are appended.
        let id = FeedbackID("known")
        _ = try await journal.append(entry("known", 1, id: id), durability: .buffered)
        _ = try await journal.removeEntries(of: "gone", isForgotten: true)
        let mixed = [
            entry("user 0", 3), entry("user 1", 2), entry("known", 2, id: id), entry("gone", 1), entry("new", 1),
        ]
        let outcomes = await journal.append(mixed, durability: .buffered)
        let told = outcomes.map { outcome -> AppendOutcome? in
            switch outcome {
            case .success(let outcome): return outcome
            case .failure(let error): return (error as? EngineError)?.code == .staleVersion ? nil : .forgottenFeedback
            }
        }
        expect("each has its own outcome", told, is: [.appended, nil, .duplicate, .forgottenUser, .appended])
        expect("one's refusal leaves its entries", try await journal.entries(of: "user 1", after: 1).count, is: 1)
        expect("others' are there", try await journal.entries(of: "new", after: nil), is: [entry("new", 1)])
    }

    func checkEntries() async throws {
        let journal = try await makeJournal()
        expect("an empty journal has no users", try await journal.journalledUsers(), is: [])
        expect("nobody's entries are none", try await journal.entries(of: "ada", after: nil), is: [])
        let users = ["b", "a", "\u{E9}", "e\u{301}", "\0", " ", "用户", String(repeating: "x", count: 1024)]
        for durability in [Durability.buffered, .synced] {
            let first: UInt64 = durability == .buffered ? 0 : 3
            for user in users {
                for version in first..<(first + 3) {
                    let id = version == 1 ? nil : FeedbackID(high: version, low: .max - version)
                    let outcome = try await journal.append(entry(user, version, id: id), durability: durability)
                    expect("an entry is appended", outcome, is: .appended)
                }
            }
        }
        for user in users {
            let all = (0..<6).map { entry(user, $0, id: $0 == 1 ? nil : FeedbackID(high: $0, low: .max - $0)) }
            expect("entries come back as they were given", try await journal.entries(of: user, after: nil), is: all)
            expect(
                "entries above a version come back", try await journal.entries(of: user, after: 3),
                is: Array(all[4...]))
            expect("none are above the last", try await journal.entries(of: user, after: 5), is: [])
        }
        let listed = try await journal.journalledUsers().map { Array($0.utf8) }
        expect(
            "users are listed in the order of their bytes", listed,
            is: users.map { Array($0.utf8) }.sorted { $0.lexicographicallyPrecedes($1) })
    }

    func checkThatVersionsRise() async throws {
        let journal = try await makeJournal()
        _ = try await journal.append(entry("ada", 4), durability: .buffered)
        for version: UInt64 in [4, 3, 0] {
            let error = try await found.failure("versions rise", of: "version \(version) after 4") {
                try await journal.append(entry("ada", version, id: FeedbackID("late")), durability: .buffered)
            }
            expect("a version that does not rise is stale", (error as? EngineError)?.code, is: .staleVersion)
        }
        expect(
            "what is refused leaves nothing", try await journal.entries(of: "ada", after: nil), is: [entry("ada", 4)])
        let outcome = try await journal.append(entry("ada", 9, id: FeedbackID("late")), durability: .buffered)
        expect("an id that was refused with its version is free", outcome, is: .appended)
    }

    func checkIDs() async throws {
        let journal = try await makeJournal()
        let id = FeedbackID("event")
        expect("an id is new", try await journal.append(entry("ada", 1, id: id), durability: .buffered), is: .appended)
        let again = try await journal.append(entry("ada", 2, id: id), durability: .synced)
        expect("an id is learned once", again, is: .duplicate)
        // Even where the version is old as well: it is the same event, sent again.
        let old = try await journal.append(entry("ada", 1, id: id), durability: .synced)
        expect("an id is learned once", old, is: .duplicate)
        expect("a duplicate leaves nothing", try await journal.entries(of: "ada", after: 1), is: [])
        let other = try await journal.append(entry("bob", 1, id: id), durability: .buffered)
        expect("ids are a user's own", other, is: .appended)
    }

    func checkContent() async throws {
        let journal = try await makeJournal()
        let content = JournalContent(kind: .prior, hash: .max, bytes: [1, 2, 3])
        expect("content that was not kept is not there", try await journal.content(.prior, .max), is: nil)
        try await journal.keep(content)
        try await journal.keep(content)
        try await journal.keep(JournalContent(kind: .catalogue, hash: .max, bytes: []))
        expect("content is kept", try await journal.content(.prior, .max), is: [1, 2, 3])
        expect("names are a kind's own", try await journal.content(.catalogue, .max), is: [])
        let error = try await found.failure("other bytes are refused", of: "other bytes") {
            try await journal.keep(JournalContent(kind: .prior, hash: .max, bytes: [1, 2, 4]))
        }
        expect("other bytes are refused", error == nil, is: false)
        expect("content stays", try await journal.content(.prior, .max), is: [1, 2, 3])
    }

    func adapter(_ user: String, _ version: UInt64) throws -> StoredAdapter {
        let script = try AdapterScript()
        let states = try script.history(user, steps: Int(version))
        return StoredAdapter(user: user, embeddingModel: "test", adapter: states[Int(version)], isJournalled: true)
    }

    func checkTrimming() async throws {
        let journal = try await makeJournal()
        for version: UInt64 in 1...5 {
            _ = try await journal.append(entry("ada", version, id: FeedbackID("\(version)")), durability: .buffered)
        }
        expect("there is no base before", try await journal.base(of: "ada")?.adapter.version, is: nil)
        let base = try adapter("ada", 3)
        try await journal.trim(base)
        expect("the base is there", try await journal.base(of: "ada")?.adapter.stateHash, is: base.adapter.stateHash)
        let rest = (4...5).map { entry("ada", $0, id: FeedbackID("\($0)")) }
        expect("entries up to the base go", try await journal.entries(of: "ada", after: nil), is: rest)
        let again = try await journal.append(entry("ada", 6, id: FeedbackID("2")), durability: .buffered)
        expect("what was trimmed is not learned again", again, is: .duplicate)
        try await journal.trim(try adapter("ada", 6))
        expect("all may go", try await journal.entries(of: "ada", after: nil), is: [])
        let stale = try await found.failure("versions rise above the base", of: "version 6 over a base of 6") {
            try await journal.append(entry("ada", 6), durability: .buffered)
        }
        expect("versions rise above the base", (stale as? EngineError)?.code, is: .staleVersion)
    }

    func checkAges() async throws {
        let journal = try await makeJournal()
        func append(_ user: String, _ version: UInt64, at moment: Int64) async throws {
            let entry = JournalEntry(user: user, version: version, recordedAt: moment, action: [7])
            expect("an entry is appended", try await journal.append(entry, durability: .buffered), is: .appended)
        }
        expect("an empty journal has no old entries", try await journal.users(withFirstEntryBefore: .max), is: [])
        // Of "clock" the first entry is the younger one: its clock was put back.
        for (version, moments) in [(1, [-5, 100, 300, 200]), (2, [50, 200, 301, 100]), (3, [60, 300, 302, 101])] {
            for (user, moment) in zip(["long ago", "ada", "bob", "clock"], moments) {
                try await append(user, UInt64(version), at: Int64(moment))
            }
        }
        for (moment, users) in [
            (-5, []), (-4, ["long ago"]), (100, ["long ago"]), (101, ["ada", "long ago"]),
            (201, ["ada", "clock", "long ago"]), (301, ["ada", "bob", "clock", "long ago"]),
        ] as [(Int64, [String])] {
            expect(
                "the users whose first entry is older than \(moment)",
                try await journal.users(withFirstEntryBefore: moment), is: users)
        }
        try await journal.trim(try adapter("ada", 2))
        expect(
            "what was trimmed is not there", try await journal.users(withFirstEntryBefore: 300),
            is: ["clock", "long ago"])
        try await append("ada", 4, at: 400)
        try await append("ada", 5, at: 0)
        try await append("late", 1, at: 2)
        expect(
            "entries before later ones count", try await journal.users(withFirstEntryBefore: 301),
            is: ["ada", "bob", "clock", "late", "long ago"])
        expect(
            "later ones do not", try await journal.users(withFirstEntryBefore: 300), is: ["clock", "late", "long ago"])
        try await journal.trim(try adapter("ada", 5))
        expect(
            "a base is no entry", try await journal.users(withFirstEntryBefore: .max),
            is: ["bob", "clock", "late", "long ago"])
    }

    func lastVersions(_ journal: any FeedbackJournal) async throws -> [LastVersion] {
        var all: [LastVersion] = []
        try await journal.withLastVersions { all += $0 }
        return all
    }

    func checkLastVersions() async throws {
        let journal = try await makeJournal()
        expect("an empty journal has no last versions", try await lastVersions(journal), is: [])
        let users = ["b", "a", "\u{E9}", "e\u{301}", "\0", " "]
        for version: UInt64 in 1...3 {
            for (i, user) in users.enumerated() where i % 3 < version {
                let entry = entry(user, version * 2)
                expect("an entry is appended", try await journal.append(entry, durability: .buffered), is: .appended)
            }
        }
        func listed() async throws -> [[UInt8]] { try await lastVersions(journal).map { Array($0.user.utf8) } }
        expect(
            "they are those of the users with entries, in the order of their bytes", try await listed(),
            is: users.map { Array($0.utf8) }.sorted { $0.lexicographicallyPrecedes($1) })
        let versions = try await lastVersions(journal).map(\.version)
        expect("each is the last entry's", versions, is: Array(repeating: 6, count: users.count))
        try await journal.trim(try adapter("a", 6))
        _ = try await journal.removeEntries(of: "b", isForgotten: true)
        try await journal.trim(try adapter(" ", 5))
        expect("who has no entries has none", try await listed(), is: [[0], [32], [101, 204, 129], [195, 169]])
        // More than a journal gives at a time.
        let many = (0..<9000).map { "user \($0)" }.sorted()
        let outcomes = await journal.append(many.map { entry($0, 7) }, durability: .buffered)
        expect("many are appended", try outcomes.count { try $0.get() == .appended }, is: many.count)
        let last = try await lastVersions(journal).filter { $0.version == 7 }
        expect("all are given, once", last, is: many.map { LastVersion(user: $0, version: 7) })
        struct Enough: Error {}
        let error = try await found.failure("what is thrown there comes out", of: "giving up") {
            try await journal.withLastVersions { _ in throw Enough() }
        }
        expect("what is thrown there comes out", error is Enough, is: true)
    }

    func checkRewriting() async throws {
        let journal = try await makeJournal()
        for version: UInt64 in 1...3 {
            _ = try await journal.append(entry("ada", version, id: FeedbackID("\(version)")), durability: .buffered)
        }
        let correction = entry("ada", 4)
        try await journal.rewrite(
            JournalRewriting(
                removed: entry("ada", 2, id: FeedbackID("2")), replacement: nil, correction: correction,
                adapter: try adapter("ada", 4)))
        let rest = [entry("ada", 1, id: FeedbackID("1")), entry("ada", 3, id: FeedbackID("3")), correction]
        expect("the entry is gone", try await journal.entries(of: "ada", after: nil), is: rest)
        let again = try await journal.append(entry("ada", 5, id: FeedbackID("2")), durability: .buffered)
        expect("what was forgotten does not come back", again, is: .forgottenFeedback)
        let error = try await found.failure("an entry that is not there cannot go", of: "version 2 again") {
            try await journal.rewrite(
                JournalRewriting(
                    removed: entry("ada", 2), replacement: nil, correction: entry("ada", 6),
                    adapter: try adapter("ada", 6)))
        }
        expect("an entry that is not there cannot go", (error as? EngineError)?.code, is: .unknownFeedback)
        expect("a refused rewriting changes nothing", try await journal.entries(of: "ada", after: nil), is: rest)
        var smaller = entry("ada", 3, id: FeedbackID("3"))
        smaller.action = [7]
        try await journal.rewrite(
            JournalRewriting(
                removed: entry("ada", 3, id: FeedbackID("3")), replacement: smaller, correction: entry("ada", 5),
                adapter: try adapter("ada", 5)))
        expect(
            "an entry is replaced", try await journal.entries(of: "ada", after: 1),
            is: [smaller, correction, entry("ada", 5)])
    }

    func checkForgetting() async throws {
        let journal = try await makeJournal()
        for version: UInt64 in 1...3 {
            for user in ["ada", "bob"] {
                _ = try await journal.append(entry(user, version), durability: .buffered)
            }
        }
        expect("entries are counted", try await journal.removeEntries(of: "ada", isForgotten: true), is: 3)
        expect("they are gone", try await journal.entries(of: "ada", after: nil), is: [])
        expect("who is forgotten is not listed", try await journal.journalledUsers(), is: ["bob"])
        let late = try await journal.append(entry("ada", 9, id: FeedbackID("late")), durability: .buffered)
        expect("late feedback is refused", late, is: .forgottenUser)
        // As by somebody who looked before.
        let base = try adapter("ada", 3)
        let error = try await found.failure("who is forgotten gets no base", of: "a base") {
            try await journal.trim(base)
        }
        expect("who is forgotten gets no base", (error as? EngineError)?.code, is: .forgottenUser)
        expect("a refused base leaves nothing", try await journal.base(of: "ada")?.adapter.version, is: nil)
        expect("forgetting again removes nothing", try await journal.removeEntries(of: "ada", isForgotten: true), is: 0)
        expect("a user is readmitted", try await journal.readmit("ada"), is: true)
        expect("nobody is readmitted twice", try await journal.readmit("ada"), is: false)
        expect("a user begins again", try await journal.append(entry("ada", 1), durability: .buffered), is: .appended)
        expect("entries are removed", try await journal.removeEntries(of: "ada", isForgotten: false), is: 1)
        let next = try await journal.append(entry("ada", 1), durability: .buffered)
        expect("who was only removed begins again", next, is: .appended)
        expect("others stay", try await journal.entries(of: "bob", after: nil).count, is: 3)
    }

    func checkConcurrentCalls() async throws {
        let journal = try await makeJournal()
        try await withThrowingTaskGroup(of: Void.self) { group in
            for user in 0..<8 {
                group.addTask {
                    for version: UInt64 in 1...40 {
                        let durability: Durability = version % 4 == 0 ? .synced : .buffered
                        let outcome = try await journal.append(entry("user \(user)", version), durability: durability)
                        expect("an entry is appended", outcome, is: .appended)
                        let seen = try await journal.entries(of: "user \(user)", after: version - 1)
                        expect("who appended sees it", seen, is: [entry("user \(user)", version)])
                    }
                }
            }
            try await group.waitForAll()
        }
        for user in 0..<8 {
            let entries = try await journal.entries(of: "user \(user)", after: nil)
            expect("nothing is lost, and the order stays", entries.map(\.version), is: Array(1...40))
        }
    }
}
