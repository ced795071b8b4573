import TensorCore
import TestSupport
import Testing

@testable import Evaluation

@Suite struct SyntheticPopulationTests {
    @Test func isTheSameEverywhere() throws {
        let population = try SyntheticPopulation(.small)
        // Pinned: another population would silently change every published number.
        #expect(population.likes(of: 7).prefix(8).map { $0 } == [82, 116, 139, 113, 130, 92, 146, 61])
        #expect(population.likes(of: 7) == population.likes(of: 7))
        #expect(population.likes(of: 7) != population.likes(of: 9))
        var other = SyntheticPopulation.Configuration.small
        other.seed = 2
        #expect(try SyntheticPopulation(other).likes(of: 7) != population.likes(of: 7))
    }

    @Test func likesEachItemOnce() throws {
        let population = try SyntheticPopulation(.small)
        for user in 0..<50 {
            let likes = population.likes(of: user)
            #expect(population.configuration.likes.contains(likes.count))
            #expect(Set(likes).count == likes.count)
        }
    }

    @Test func makesUsersOnDemand() throws {
        var configuration = SyntheticPopulation.Configuration.small
        configuration.users = 1_000_000
        let population = try SyntheticPopulation(configuration)
        #expect(population.likes(of: 999_999).count >= 25)
        #expect(
            try SyntheticPopulation(.small).likes(of: 3) == population.likes(of: 3), "users do not depend on each other"
        )
    }

    /// M·x from the factors, multiplied out.
    @Test func mapsByItsFactors() throws {
        let population = try SyntheticPopulation(.small)
        let (down, up) = population.factors(of: 5, step: 0)
        #expect(down.rows == population.configuration.rank && up.columns == 12)
        let x = population.vectors.row(3)
        let y = population.personalized(x, for: 5, step: 0)
        for j in 0..<12 {
            var expected = Double(x[j])
            for k in 0..<down.rows {
                let projection = (0..<12).map { Double(down[k, $0]) * Double(x[$0]) }.reduce(0, +)
                expected += Double(population.configuration.strength) * projection * Double(up[k, j])
            }
            #expect(abs(Double(y[j]) - expected) < 1e-5)
        }
    }

    @Test func plantsNothingAtStrengthZero() throws {
        var configuration = SyntheticPopulation.Configuration.small
        configuration.strength = 0
        let population = try SyntheticPopulation(configuration)
        #expect(population.personalized(population.vectors.row(0), for: 1, step: 0) == population.vectors.row(0))
    }

    @Test func driftsAtTheGivenStep() throws {
        var configuration = SyntheticPopulation.Configuration.small
        configuration.driftStep = 10
        let population = try SyntheticPopulation(configuration)
        #expect(population.cluster(of: 0, step: 9) == 0 && population.cluster(of: 0, step: 10) == 1)
        let x = population.vectors.row(0)
        #expect(population.personalized(x, for: 0, step: 9) != population.personalized(x, for: 0, step: 10))
        let likes = population.likes(of: 0)
        #expect(likes.prefix(10) == (try SyntheticPopulation(.small)).likes(of: 0).prefix(10))
    }

    /// Choices follow the probabilities they are said to follow: a χ² test of first choices over topics.
    @Test func choosesByTheSoftmaxOfTheUtilities() throws {
        let population = try SyntheticPopulation(.small)
        // How likely the choices made were, against what the softmax expects: the mean of −log p must match its entropy.
        var surprise = 0.0
        var entropy = 0.0
        var variance = 0.0
        for user in 0..<underSanitizer(10, otherwise: 50) {
            let likes = population.likes(of: user)
            for step in 1..<likes.count {
                let utilities = population.utilities(of: user, step: step, lastLike: likes[step - 1])
                let open = utilities.indices.filter { !likes.prefix(step).contains($0) }
                let largest = open.map { utilities[$0] }.max() ?? 0
                let total = open.map { Elementary.exp(Double(utilities[$0] - largest)) }.reduce(0, +)
                func logarithm(_ item: Int) -> Double { Double(utilities[item] - largest) - Elementary.log(total) }
                surprise -= logarithm(likes[step])
                let mean = -open.map { Elementary.exp(logarithm($0)) * logarithm($0) }.reduce(0, +)
                entropy += mean
                variance +=
                    open.map { Elementary.exp(logarithm($0)) * logarithm($0) * logarithm($0) }.reduce(0, +)
                    - mean * mean
            }
        }
        #expect(abs(surprise - entropy) < 4 * variance.squareRoot(), "surprise \(surprise), entropy \(entropy)")
    }

    @Test func refusesWhatItCannotMake() {
        func refuses(_ change: (inout SyntheticPopulation.Configuration) -> Void) -> Bool {
            var configuration = SyntheticPopulation.Configuration()
            change(&configuration)
            do {
                _ = try SyntheticPopulation(configuration)
                return false
            } catch {
                return error.code == .invalidConfiguration
            }
        }
        #expect(refuses { $0.users = 49 } && refuses { $0.users = 1_000_001 })
        #expect(refuses { $0.topics = 3 } && refuses { $0.items = 61 } && refuses { $0.likes = 5...10 })
        #expect(refuses { $0.temperature = 0 } && refuses { $0.strength = .nan } && refuses { $0.driftStep = 0 })
        #expect(!refuses { $0.users = 50 })
    }

    @Test func signalsFollowTheTrueMap() throws {
        let population = try SyntheticPopulation(.small)
        let exact = population.target(of: 3, step: 8, noise: 0)
        #expect(exact.target == population.personalized(exact.query, for: 3, step: 8))
        #expect(population.excessTargetLoss(of: exact.target, query: exact.query, user: 3, step: 8) == 0)
        var off = exact.target
        off[0] += 0.5
        let loss = population.excessTargetLoss(of: off, query: exact.query, user: 3, step: 8)
        #expect(abs(loss - 0.25 / 12) < 1e-6)
        var agreements = 0.0
        var expected = 0.0
        var variance = 0.0
        for step in 0..<400 {
            let signal = population.preference(of: 3, step: step)
            let utilities = population.utilities(of: 3, step: step, lastLike: signal.query)
            let better = utilities[signal.preferred] > utilities[signal.other]
            let margin = abs(Double(utilities[signal.preferred] - utilities[signal.other]))
            let p = 1 / (1 + Elementary.exp(-margin))
            agreements += better ? 1 : 0
            expected += p
            variance += p * (1 - p)
        }
        #expect(abs(agreements - expected) < 4 * variance.squareRoot())
    }
}

@Suite struct RegretTests {
    /// Σ p·AUC pair by pair.
    private func naive(_ scores: [Float], _ utilities: [Float], open: [Int]) -> Double {
        let total = open.map { Elementary.exp(Double(utilities[$0])) }.reduce(0, +)
        var sum = 0.0
        for i in open {
            var below = 0.0
            for j in open where j != i { below += scores[j] < scores[i] ? 1 : scores[j] == scores[i] ? 0.5 : 0 }
            sum += Elementary.exp(Double(utilities[i])) / total * below / Double(open.count - 1)
        }
        return sum
    }

    @Test(arguments: [3, 4, 31, 127])
    func agreesWithTheDefinition(items: Int) {
        var random = PhiloxGenerator(seed: 4, stream: UInt64(items))
        let utilities = (0..<items).map { _ in Float(random.normal()) }
        let seen = [items - 1]
        let open = Array(0..<(items - 1))
        let truth = ChoiceTruth(utilities: utilities, seen: seen[...])
        #expect(truth.regret(of: utilities) == 0)
        for _ in 0..<5 {
            let scores = (0..<items).map { _ in Float(random.integer(below: 5)) }
            let expected = naive(utilities, utilities, open: open) - naive(scores, utilities, open: open)
            #expect(abs(truth.regret(of: scores) - expected) < 1e-9)
            #expect(truth.regret(of: scores) >= 0)
        }
    }

    @Test func isZeroForTheTrueMapAndNotForTheQuery() throws {
        let population = try SyntheticPopulation(.small)
        let likes = Array(population.likes(of: 2).prefix(5))
        let truth = population.utilities(of: 2, step: 5, lastLike: likes[4])
        #expect(population.rankingRegret(of: truth, user: 2, likes: likes) == 0)
        let query = population.vectors.row(likes[4])
        let plain = (0..<150).map { item in zip(population.vectors.row(item), query).map(*).reduce(0, +) }
        #expect(population.rankingRegret(of: plain, user: 2, likes: likes) > 0.02)
    }
}
