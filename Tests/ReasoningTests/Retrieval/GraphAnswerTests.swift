import LoRA
import TensorCore
import TestSupport
import Testing

@testable import Reasoning

@Suite("Answers by graphs")
struct GraphAnswerTests {
    let weights = RetrievalWeights()
    let now = ManualClock().now

    /// The same episodes with graphs and without.
    func pair(_ count: Int, groups: Int, seed: UInt64, plan: GraphPlan = .small) -> (
        index: EpisodeIndex, exact: EpisodeIndex, made: MadeEpisodes
    ) {
        var made = MadeEpisodes(groups: groups, seed: seed)
        var (index, exact) = (EpisodeIndex(plan), EpisodeIndex(.exact))
        for id in 1...UInt64(count) {
            let episode = made.next()
            index.append(EpisodeID(id), episode)
            exact.append(EpisodeID(id), episode)
        }
        return (index, exact, made)
    }

    /// The share of the exact answers' matches that the index gives; what it gives is right in itself.
    func recall(_ index: EpisodeIndex, _ exact: EpisodeIndex, _ queries: [PatternQuery]) -> Double {
        var (hits, wanted) = (0, 0)
        for query in queries {
            let given = index.best(query.limit, for: query, weights: weights, now: now)
            let expected = exact.best(query.limit, for: query, weights: weights, now: now)
            // All that there are, to compare the scores of whatever was found.
            let all = exact.best(100_000, for: query, weights: weights, now: now)
            let scores = Dictionary(uniqueKeysWithValues: all.map { ($0.id, $0) })
            #expect(given.count == expected.count && Set(given.map(\.id)).count == given.count)
            for match in given {
                #expect(scores[match.id]?.score == match.score && scores[match.id]?.similarity == match.similarity)
            }
            let order = given.map { ($0.score, $0.id) }
            #expect(zip(order, order.dropFirst()).allSatisfy { $0.0 > $1.0 || ($0.0 == $1.0 && $0.1 < $1.1) })
            wanted += expected.count
            hits += Set(given.map(\.id)).intersection(expected.map(\.id)).count
        }
        return Double(hits) / Double(max(1, wanted))
    }

    @Test(
        "give 95 % of the true ones among groups, whatever is asked",
        arguments: [UInt64](1...underSanitizer(1, otherwise: 3)))
    func areGood(seed: UInt64) {
        var (index, exact, made) = pair(2_800, groups: 40, seed: seed)
        index.finishIndexing()
        let statistics = index.graphStatistics
        #expect(statistics.graphs == 3 && statistics.refused == 0 && statistics.indexed > 2_200, "seed \(seed)")
        #expect(statistics.recall ?? 0 >= 0.95 && statistics.effort > 0)
        var queries: [PatternQuery] = []
        for i in 0..<60 {
            var query = made.query(limit: 1 + i % 20, minimumReward: i % 3 == 0 ? 0 : 0.7)
            query.onlyFailures = i % 6 == 3
            query.onlySuccesses = i % 6 == 4
            if i % 4 == 1 { query.excluding = made.next().user }
            queries.append(query)
        }
        let found = queries.map { index.answer($0.limit, for: $0, weights: weights, now: now) }
        #expect(found.count(where: \.isByGraph) > 40, "seed \(seed)")
        for (query, answer) in zip(queries, found) {
            #expect(answer.matches.allSatisfy { index.facts[index.row(of: $0.id)!].user != query.excluding })
        }
        let recall = recall(index, exact, queries)
        #expect(recall >= 0.95, "recall \(recall), seed \(seed)")
    }

    @Test("look at all where the query admits few, and where many are wanted")
    func areExactForRareAnswers() {
        var (index, exact, made) = pair(1_200, groups: 10, seed: 4)
        index.finishIndexing()
        #expect(index.graphStatistics.graphs > 0)
        for query in [made.query(limit: 5, minimumReward: 0.99), made.query(limit: 400, minimumReward: 0)] {
            let answer = index.answer(query.limit, for: query, weights: weights, now: now)
            #expect(!answer.isByGraph)
            let expected = exact.best(query.limit, for: query, weights: weights, now: now)
            #expect(answer.matches.map(\.id) == expected.map(\.id) && !expected.isEmpty)
        }
    }

    /// With one candidate a graph misses nearly all of ten answers.
    @Test("are refused when the check finds them bad, and tried again among twice as many")
    func areRefused() {
        var plan = GraphPlan.small
        plan.efforts = [1]
        var (index, exact, made) = pair(450, groups: 0, seed: 5, plan: plan)
        index.finishIndexing()
        #expect(index.graphStatistics.refused == 1 && index.graphStatistics.indexed == 0)
        #expect(index.graphStatistics.graphs == 0 && index.graphStatistics.recall == nil)
        #expect(!index.isIndexingDue)
        let queries = (0..<5).map { _ in made.query() }
        #expect(queries.allSatisfy { !index.answer(10, for: $0, weights: weights, now: now).isByGraph })
        #expect(recall(index, exact, queries) == 1)
        // The first graph had 400 vectors.
        let begins = index.graphs.rowsToBegin
        #expect((600...800).contains(begins))
        var id: UInt64 = 450
        while !index.isIndexingDue {
            id += 1
            index.append(EpisodeID(id), made.next())
        }
        #expect(Int(id) == begins)
    }

    @Test("are refused when so many candidates are needed that looking at all is as fast")
    func areRefusedAsSlow() {
        var plan = GraphPlan.small
        (plan.efforts, plan.rowsPerCandidate) = ([64], 100)
        var (index, _, _) = pair(450, groups: 20, seed: 6, plan: plan)
        index.finishIndexing()
        #expect(index.graphStatistics.refused == 1 && index.graphStatistics.graphs == 0)
    }

    @Test("that cannot be made leave the answers as they are, and say why")
    func cannotBeMade() {
        var plan = GraphPlan.small
        plan.links = 0
        var (index, exact, made) = pair(450, groups: 20, seed: 6, plan: plan)
        index.finishIndexing()
        let statistics = index.graphStatistics
        #expect(statistics.refused == 1 && statistics.graphs == 0 && statistics.failure?.contains("a setting") == true)
        let queries = (0..<5).map { _ in made.query() }
        #expect(recall(index, exact, queries) == 1)
        #expect(pair(450, groups: 20, seed: 6).index.graphStatistics.failure == nil)
    }

    @Test("stay away from few rows, and from all under a plan without")
    func areNotMadeForFew() {
        var (index, exact, _) = pair(399, groups: 20, seed: 7)
        #expect(!index.isIndexingDue && !exact.isIndexingDue)
        let isLeft = index.indexMore()
        #expect(!isLeft && index.graphs.ranges.isEmpty)
    }

    @Test("are the same however the work is cut", arguments: [UInt64(8)])
    func areDeterministic(seed: UInt64) {
        var (whole, _, made) = pair(1_300, groups: 20, seed: seed)
        whole.finishIndexing()
        var (random, again) = (PhiloxGenerator(seed: seed, purpose: .simulation), MadeEpisodes(groups: 20, seed: seed))
        var parts = EpisodeIndex(.small)
        for id in 1...UInt64(1_300) {
            parts.append(EpisodeID(id), again.next())
            for _ in 0..<random.integer(below: 3) { parts.indexMore() }
        }
        parts.finishIndexing()
        #expect(whole.graphStatistics.graphs == parts.graphStatistics.graphs)
        for _ in 0..<10 {
            let query = made.query()
            let (a, b) = (whole, parts)
            #expect(
                a.best(10, for: query, weights: weights, now: now).map(\.id)
                    == b.best(10, for: query, weights: weights, now: now).map(\.id))
        }
    }

    @Test("survive a copy, which keeps its own")
    func areCopied() {
        var (index, exact, made) = pair(700, groups: 20, seed: 9)
        index.finishIndexing()
        let copy = index
        let before = index.graphStatistics
        for id in 701...UInt64(1_000) {
            let episode = made.next()
            index.append(EpisodeID(id), episode)
            exact.append(EpisodeID(id), episode)
        }
        index.finishIndexing()
        #expect(copy.graphStatistics == before && copy.graphs.ranges[0].graph?.count == before.indexed)
        #expect(index.graphs.ranges[0].graph !== copy.graphs.ranges[0].graph)
        let queries = (0..<10).map { _ in made.query() }
        #expect(recall(index, exact, queries) >= 0.95)
        #expect(
            queries.allSatisfy { copy.best(10, for: $0, weights: weights, now: now).allSatisfy { $0.id.value <= 700 } })
    }
}
