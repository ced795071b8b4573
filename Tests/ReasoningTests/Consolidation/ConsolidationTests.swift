import LoRA
import StorageTesting
import TensorCore
import TestSupport
import Testing

@testable import Reasoning

@Suite("Consolidation")
struct ConsolidationTests {
    @Test(
        "finds as many skills as there are groups",
        arguments: [
            [20, 20, 20], [60], [30, 30], [12, 12, 12, 12, 12], [100, 20, 8], [40, 10, 10], [5],
        ], [0.1, 0.2])
    func findsTheGroups(sizes: [Int], noise: Double) async throws {
        for seed: UInt64 in 1...underSanitizer(1, otherwise: 3) {
            let population = try Population(
                sizes, noise: noise, seed: seed, withAdapters: false, gain: { 0.1 + 0.01 * $0.normal() })
            let bank = try await population.bank(each: 1)
            let report = try await bank.autoConsolidate(ConsolidationPolicy(), donors: NoDonors())
            #expect(report.created.count == sizes.count, "\(sizes), noise \(noise), seed \(seed)")
            // At the higher noise a user or two lie nearer to another group.
            for (found, planted) in zip(report.created.map(\.evidence.users).sorted(), sizes.sorted()) {
                #expect(abs(found - planted) <= (noise > 0.1 ? 2 : 0), "\(sizes), noise \(noise), seed \(seed)")
            }
        }
    }

    @Test("makes no skill of noise", arguments: [UInt64](1...5))
    func makesNothingOfNoise(seed: UInt64) async throws {
        let population = try Population(
            [Int](repeating: 1, count: 120), noise: 0, seed: seed, withAdapters: false, gain: { 0.1 * $0.normal() })
        let bank = try await population.bank()
        let report = try await bank.autoConsolidate(ConsolidationPolicy(), donors: NoDonors())
        #expect(report.created.isEmpty && !report.refused.isEmpty)
        #expect(report.users == 120 && report.episodes == 240)
    }
}
