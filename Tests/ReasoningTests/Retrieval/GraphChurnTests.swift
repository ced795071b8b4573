import LoRA
import StorageTesting
import TensorCore
import TestSupport
import Testing

@testable import Reasoning

@Suite("Graphs under removals")
struct GraphChurnTests {
    let weights = RetrievalWeights()
    let now = ManualClock().now

    @Test(
        "never give what was removed, and stay good, whatever comes in whatever order",
        arguments: [UInt64](1...underSanitizer(1, otherwise: 4)))
    func survive(seed: UInt64) {
        var random = PhiloxGenerator(seed: seed, purpose: .simulation)
        var made = MadeEpisodes(groups: 15, seed: seed)
        var (index, exact) = (EpisodeIndex(.small), EpisodeIndex(.exact))
        var held: [EpisodeID] = []
        var (hits, wanted, byGraph) = (0, 0, 0)
        var id: UInt64 = 0
        for round in 0..<60 {
            for _ in 0..<random.integer(below: 60) {
                id += UInt64(1 + random.integer(below: 3))
                let episode = made.next()
                index.append(EpisodeID(id), episode)
                exact.append(EpisodeID(id), episode)
                held.append(EpisodeID(id))
            }
            // Now and then most of all, from anywhere, from the beginning or from the end.
            let share = round % 20 == 19 ? 0.7 : 0.01
            let number = Int(Double(held.count) * share)
            let gone: [EpisodeID] =
                switch random.integer(below: 3) {
                case 0: Array(held.prefix(number))
                case 1: Array(held.suffix(number))
                default: random.sample(number, of: held.count).map { held[$0] }
                }
            let isGone = Set(gone)
            held.removeAll { isGone.contains($0) }
            for id in gone {
                let (a, b) = (index.remove(id), exact.remove(id))
                #expect(a && b, "seed \(seed)")
            }
            for _ in 0..<random.integer(below: 400) { index.indexMore() }
            if round % 10 == 9 { index.finishIndexing() }
            #expect(index.count == held.count && exact.count == held.count, "seed \(seed)")
            let isThere = Set(held)
            for _ in 0..<3 {
                let query = made.query(
                    limit: 1 + random.integer(below: 15), minimumReward: random.bernoulli(0.5) ? 0 : 0.7)
                let answer = index.answer(query.limit, for: query, weights: weights, now: now)
                let expected = exact.best(query.limit, for: query, weights: weights, now: now)
                #expect(answer.matches.allSatisfy { isThere.contains($0.id) }, "seed \(seed)")
                #expect(answer.matches.count == expected.count, "seed \(seed), round \(round)")
                byGraph += answer.isByGraph ? 1 : 0
                wanted += expected.count
                hits += Set(answer.matches.map(\.id)).intersection(expected.map(\.id)).count
            }
        }
        #expect(byGraph > 20, "\(byGraph) by graph, seed \(seed)")
        #expect(Double(hits) >= 0.95 * Double(wanted), "recall \(Double(hits) / Double(wanted)), seed \(seed)")
    }

    @Test("are made again when half of what they hold is gone, and serve until then")
    func areRenewed() {
        var made = MadeEpisodes(groups: 15, seed: 11)
        var index = EpisodeIndex(.small)
        for id in 1...UInt64(900) { index.append(EpisodeID(id), made.next()) }
        index.finishIndexing()
        let first = index.graphs.ranges[0].graph
        #expect(index.graphStatistics.graphs == 1 && !index.isIndexingDue)
        // Every other one: the rows are closed up, which graphs do not notice.
        for id in stride(from: UInt64(1), through: 900, by: 2) { _ = index.remove(EpisodeID(id)) }
        #expect(index.ids.count < 700)
        for id in stride(from: UInt64(2), through: 100, by: 2) { _ = index.remove(EpisodeID(id)) }
        #expect(index.isIndexingDue && index.graphs.ranges[0].graph === first)
        let query = made.query(limit: 3, minimumReward: 0)
        var pieces = 0
        while index.indexMore() {
            pieces += 1
            #expect(index.answer(3, for: query, weights: weights, now: now).isByGraph, "piece \(pieces)")
        }
        #expect(pieces > 80 && index.graphs.ranges.count == 1 && index.graphs.ranges[0].graph !== first)
        let statistics = index.graphStatistics
        #expect(statistics.graphs == 1 && index.graphs.ranges[0].removed == 0)
        #expect(statistics.indexed == index.graphs.ranges[0].graph?.count && statistics.indexed <= index.count)
    }

    @Test("go when few are left")
    func areDropped() {
        var made = MadeEpisodes(groups: 15, seed: 12)
        var index = EpisodeIndex(.small)
        for id in 1...UInt64(900) { index.append(EpisodeID(id), made.next()) }
        index.finishIndexing()
        for id in 1...UInt64(800) { _ = index.remove(EpisodeID(id)) }
        index.finishIndexing()
        #expect(index.graphs.ranges.isEmpty && !index.isIndexingDue && index.graphs.waiting == 100)
        for id in 901...UInt64(1_300) { index.append(EpisodeID(id), made.next()) }
        index.finishIndexing()
        #expect(index.graphStatistics.graphs == 1)
        // All of them, too.
        for id in 801...UInt64(1_300) { _ = index.remove(EpisodeID(id)) }
        index.finishIndexing()
        #expect(index.count == 0 && index.graphs.ranges.isEmpty)
        let query = made.query()
        #expect(index.best(10, for: query, weights: weights, now: now).isEmpty)
    }

    @Test("follow a full bank, whose oldest go")
    func followAFullBank() async throws {
        var made = MadeEpisodes(groups: 15, seed: 13)
        let clock = ManualClock()
        let bank = InMemoryReasoningBank(capacity: 900, clock: clock, plan: .small)
        var exact = EpisodeIndex(.exact)
        for i in 1...UInt64(2_600) {
            let episode = made.next()
            let id = try await bank.storePattern(episode)
            exact.append(id, episode)
            if i > 900 { _ = exact.remove(EpisodeID(i - 900)) }
            if i % 300 == 0 { bank.finishIndexing() }
        }
        bank.finishIndexing()
        var (hits, wanted) = (0, 0)
        for _ in 0..<30 {
            let query = made.query(limit: 5)
            let found = try await bank.retrievePatterns(query).map(\.id)
            let expected = exact.best(5, for: query, weights: weights, now: clock.now).map(\.id)
            #expect(found.allSatisfy { $0.value > 1_700 } && found.count == expected.count)
            hits += Set(found).intersection(expected).count
            wanted += expected.count
        }
        #expect(Double(hits) >= 0.95 * Double(wanted))
        let statistics = bank.statistics
        #expect(statistics.evicted == 1_700 && statistics.indexed > 400 && statistics.indexed <= 900)
        #expect(statistics.graphLookups + statistics.exactLookups == 30 && statistics.graphLookups > 15)
        #expect(statistics.graphRecall ?? 0 >= 0.95 && statistics.graphEffort >= 32)
    }

    @Test("are made behind the calls", .timeLimit(.minutes(10)))
    func areMadeInTheBackground() async throws {
        var made = MadeEpisodes(groups: 15, seed: 14)
        let bank = InMemoryReasoningBank(capacity: 2_000, plan: .small)
        var stored = 0
        while bank.statistics.graphs == 0 {
            // More come now and then, as the work may end between two.
            _ = try await bank.storePattern(made.next())
            stored += 1
            if stored > 450 { try await Task.sleep(for: .milliseconds(5)) }
        }
        #expect(stored >= 400)
        _ = try await bank.retrievePatterns(made.query(limit: 1, minimumReward: 0))
        #expect(bank.statistics.graphLookups + bank.statistics.exactLookups == 1)
    }

    @Test("wait for one worker at a time")
    func oneWorker() async throws {
        let work = BackgroundWork()
        let counts = Lock((running: 0, most: 0, pieces: 0))
        @Sendable func piece() -> Bool {
            counts.withLock {
                $0.running += 1
                $0.most = max($0.most, $0.running)
            }
            return counts.withLock {
                $0.running -= 1
                $0.pieces += 1
                return $0.pieces % 10 != 0
            }
        }
        for _ in 0..<3 {
            for _ in 0..<5 { work.start { piece() } }
            let before = counts.withLock { $0.pieces }
            while counts.withLock({ $0.pieces }) < before / 10 * 10 + 10 { try await Task.sleep(for: .milliseconds(1)) }
        }
        #expect(counts.withLock { $0.most } == 1)
    }
}
