import TensorCore
import Testing

@testable import Reasoning

@Suite("Evidence on learning rates")
struct RateEvidenceTests {
    static let normals = RateEvidence.normals(seed: 0)

    /// Arms by grid number, each with its users' benefits.
    static func evidence(
        _ arms: [Int: [Double]], configuration: ReasoningBankConfiguration = ReasoningBankConfiguration()
    ) -> RateEvidence {
        RateEvidence(
            arms: arms.mapValues { benefits in
                var moments = ArmMoments()
                for benefit in benefits {
                    moments.benefit.add(OutcomeUnits.units(benefit))
                    moments.gain.add(OutcomeUnits.units(-benefit))
                }
                return moments
            }, configuration: configuration)
    }

    /// `count` benefits around a mean, with a spread of 0.02.
    static func around(_ mean: Double, _ count: Int) -> [Double] {
        (0..<count).map { mean + 0.02 * (Double($0 % 5) - 2) / 2 }
    }

    @Test("stand on a grid of powers of two, nearest by ratio")
    func grid() {
        for index in RateGrid.indices {
            let rate = Double(RateGrid.rate(index))
            #expect(RateGrid.index(of: rate) == index)
            #expect(RateGrid.index(of: rate * 1.41) == index || index == 40)
            #expect(RateGrid.index(of: rate * 1.42) == min(40, index + 1))
            #expect(RateGrid.index(of: rate / 1.41) == index)
            #expect(RateGrid.index(of: rate / 1.42) == max(-40, index - 1))
        }
        #expect(RateGrid.rate(0) == 0.25 && RateGrid.rate(-3) == 0.03125)
        #expect(RateGrid.index(of: 0) == nil && RateGrid.index(of: -1) == nil)
        #expect(RateGrid.index(of: .nan) == nil && RateGrid.index(of: .infinity) == nil)
        #expect(RateGrid.index(of: 1e-300) == -40 && RateGrid.index(of: 1e300) == 40)
    }

    @Test("leave the centre where it is while nobody surely does better")
    func staysWithoutProof() {
        #expect(Self.evidence([:]).centre(configured: -2) == -2)
        // 10 users each, no lead.
        #expect(Self.evidence([-2: Self.around(0.1, 10), -1: Self.around(0.1, 10)]).centre(configured: -2) == -2)
        // A lead of 9 users, or over 9 users, is none.
        #expect(Self.evidence([-2: Self.around(0.1, 10), -1: Self.around(0.5, 9)]).centre(configured: -2) == -2)
        #expect(Self.evidence([-2: Self.around(0.1, 9), 1: Self.around(-0.5, 10)]).centre(configured: -2) == -2)
        // Beyond four times the centre.
        #expect(Self.evidence([-5: Self.around(0.1, 10), -2: Self.around(0.5, 20)]).centre(configured: -5) == -5)
    }

    @Test("move the centre to who surely does better, step by step")
    func moves() {
        #expect(Self.evidence([-2: Self.around(0.1, 10), -1: Self.around(0.2, 10)]).centre(configured: -2) == -1)
        let chain = Self.evidence([
            -8: Self.around(0.01, 10), -6: Self.around(0.05, 10), -4: Self.around(0.1, 10), -2: Self.around(0.2, 10),
            0: Self.around(0.15, 10),
        ])
        #expect(chain.centre(configured: -8) == -2)
        #expect(chain.centre(configured: 0) == -2)
        // The surest of two.
        let two = Self.evidence([0: Self.around(0.1, 10), 1: Self.around(0.2, 10), -1: Self.around(0.2, 40)])
        #expect(two.centre(configured: 0) == -1)
    }

    @Test("start where the evidence is when there is none of the configured rate, if that is good")
    func startsAtTheEvidence() {
        let known = [0: Self.around(0.1, 20), -1: Self.around(0.1, 12)]
        #expect(Self.evidence(known).centre(configured: -9) == 0)
        #expect(Self.evidence([0: Self.around(-0.1, 20)]).centre(configured: -9) == -9)
        #expect(Self.evidence([0: Self.around(0.1, 9)]).centre(configured: -9) == -9)
        // Of equals the nearest.
        let equal = [0: Self.around(0.1, 12), -4: Self.around(0.1, 12)]
        #expect(Self.evidence(equal).centre(configured: -9) == -4)
    }

    @Test("never lead beyond the rates that may be offered")
    func respectsBounds() {
        let configuration = ReasoningBankConfiguration(rates: 0.1...1)
        let evidence = Self.evidence(
            [0: Self.around(0.1, 20), -2: Self.around(0.5, 20), 3: Self.around(0.5, 20)], configuration: configuration)
        #expect(evidence.centre(configured: 0) == 0)
        let arms = evidence.probabilities(centre: 0, normals: Self.normals)
        #expect(arms.map(\.learningRate) == [0.125, 0.25, 0.5, 1])
        #expect(abs(arms.reduce(0) { $0 + $1.probability } - 1) < 1e-12)
        // A configured rate outside is kept as the centre.
        let outside = evidence.probabilities(centre: 6, normals: Self.normals)
        #expect(outside == [RateArm(learningRate: 16, probability: 1)])
    }

    @Test("favour the centre before there is any")
    func favoursTheCentre() {
        let arms = Self.evidence([:]).probabilities(centre: -3, normals: Self.normals)
        #expect(arms.map(\.learningRate) == [0.0078125, 0.015625, 0.03125, 0.0625, 0.125])
        for (arm, share) in zip(arms, [0.06, 0.14, 0.6, 0.14, 0.06]) {
            #expect(abs(arm.probability - (0.02 + 0.9 * share)) < 1e-12)
        }
    }

    @Test("give each rate at least the floor, and the best the most")
    func givesTheBestTheMost() throws {
        let evidence = Self.evidence([
            -2: Self.around(0, 100), -1: Self.around(0.1, 100), 0: Self.around(0.2, 100), 1: Self.around(0.5, 100),
            2: Self.around(0.1, 100),
        ])
        let arms = evidence.probabilities(centre: 0, normals: Self.normals)
        #expect(arms.allSatisfy { $0.probability >= 0.02 })
        // 0.94·(500/530) + what the untried share of 0.14 still weighs.
        #expect(abs(arms[3].probability - (0.02 + 0.9 * (500.0 / 530 + 30.0 / 530 * 0.14))) < 1e-9)
    }

    /// Two rates with known posteriors: the probability that the one is higher is Φ(Δ / √(v₁ + v₂)).
    @Test("estimate the probability of being best")
    func estimatesProbabilities() {
        let configuration = ReasoningBankConfiguration(explorationFloor: 0, rates: 0.2...0.6)
        let evidence = Self.evidence(
            [0: Self.around(0.1, 1000), 1: Self.around(0.101, 1000)], configuration: configuration)
        let arms = evidence.probabilities(centre: 0, normals: Self.normals)
        // Variance of ±0.02, ±0.01, 0: 2e-4; each mean's deviation 4.44e-4; shrinkage 30/1030 of the lead at most.
        // Δ/√(2v) = 1.55…1.59: Φ = 0.939…0.944, mixed with the untried 0.14/0.74 at 30/2030.
        #expect(arms.count == 2)
        #expect(abs(arms[1].probability - 0.93) < 0.03)
    }

    @Test("try rates that nobody tried where rates differ more than users do")
    func triesTheUntried() {
        // −2 is far better than −3 and −4; −1 and 0 have no users.
        let steep = Self.evidence([-4: Self.around(-1, 50), -3: Self.around(-0.5, 50), -2: Self.around(0, 50)])
        let untried = steep.probabilities(centre: -2, normals: Self.normals).suffix(2).reduce(0) { $0 + $1.probability }
        #expect(untried > 0.2)
        let flat = Self.evidence([-4: Self.around(0, 50), -3: Self.around(0, 50), -2: Self.around(0, 50)])
        #expect(flat.probabilities(centre: -2, normals: Self.normals).allSatisfy { $0.probability < 0.6 })
    }

    @Test("stay finite where all users are alike, and with a single one")
    func staysFinite() {
        for arms in [[0: [0.1]], [0: [0.1, 0.1], 1: [0.2, 0.2]], [0: [0.1], 1: [0.3], 2: [-0.1]]] {
            let shares = Self.evidence(arms).probabilities(centre: 0, normals: Self.normals)
            #expect(shares.allSatisfy { $0.probability >= 0.02 && $0.probability < 1 })
            #expect(abs(shares.reduce(0) { $0 + $1.probability } - 1) < 1e-12)
        }
    }

    @Test("go by the outcome that the configuration names")
    func goesByTheCriterion() {
        // The gains are the benefits' opposites.
        let arms = [0: Self.around(0.1, 20), 1: Self.around(0.3, 20), -1: Self.around(-0.3, 20)]
        #expect(Self.evidence(arms).centre(configured: 0) == 1)
        let gain = ReasoningBankConfiguration(criterion: .gain)
        #expect(Self.evidence(arms, configuration: gain).centre(configured: 0) == -1)
    }
}
