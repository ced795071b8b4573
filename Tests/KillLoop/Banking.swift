import Foundation
import LoRA
import Reasoning
import SQLiteStorage
import StorageTesting
import TensorCore

/// A bank that stores, consolidates and forgets while its process is killed, and what looks at it afterwards.
struct Banking {
    private let storage: SQLiteStorage
    private let bank: SQLiteReasoningBank
    /// All episodes that there will be, in order, and the donors' adapters.
    private let script: PlantedDonors
    private let donors: [String]

    init(_ storage: SQLiteStorage) async throws {
        guard let key = storage.digestKey else { fail("a storage file has no key") }
        self.storage = storage
        var builder = EpisodeBuilder()
        builder.dimension = Script.dimension
        builder.rank = 2
        builder.key = key
        // Within the window of every consolidation here.
        builder.start = Timestamp(microseconds: SystemClock().now.microseconds / 86_400_000_000 * 86_400_000_000)
        script = try PlantedDonors(
            builder,
            [
                .init(name: "first", taste: 3, users: 12, gain: 0.3),
                .init(name: "second", taste: 40, users: 9, gain: 0.2),
            ],
            versions: 1...60)
        donors = (0..<12).map { "first \($0)" } + (0..<9).map { "second \($0)" }
        bank = try await SQLiteReasoningBank(storage)
    }

    /// Stores one episode after another, each several times in the end, and now and then forgets a donor.
    func store(_ round: Int) async throws {
        var random = PhiloxGenerator(seed: UInt64(round), stream: 77, purpose: .general)
        var forgotten: Set<UserDigest> = []
        for donor in donors where try await storage.isForgotten(donor) { forgotten.insert(script.digest(donor)) }
        while true {
            if random.bernoulli(0.002), forgotten.count < 5 {
                let donor = donors[random.integer(below: donors.count)]
                say(.forgettingDonor(donor))
                _ = try await storage.removeEntries(of: donor, isForgotten: true)
                _ = try await bank.forget(script.digest(donor), donors: script)
                forgotten.insert(script.digest(donor))
                say(.forgotDonor(donor))
            }
            let place = random.integer(below: script.episodes.count)
            if forgotten.contains(script.episodes[place].user) { continue }
            say(.episode(place, id: try await bank.storePattern(script.episodes[place]).value))
        }
    }

    func consolidate() async throws {
        while true {
            try await Task.sleep(for: .milliseconds(5))
            _ = try await bank.autoConsolidate(ConsolidationPolicy(), donors: script)
            say(.consolidated)
        }
    }

    /// Whether every episode that was acknowledged is there as it was given, once, and nothing of a forgotten donor.
    func check(_ acknowledgements: String) async throws -> String {
        var known: [Int: UInt64] = [:]
        var forgetting: Set<String> = []
        var forgotten: Set<String> = []
        let text = String(decoding: try Data(contentsOf: URL(fileURLWithPath: acknowledgements)), as: UTF8.self)
        for line in text.split(separator: "\n") {
            switch Line(line) {
            case .episode(let place, let id):
                if let other = known[place], other != id {
                    fail("episode \(place) has the identifiers \(other), \(id)")
                }
                known[place] = id
            case .forgettingDonor(let donor): forgetting.insert(donor)
            case .forgotDonor(let donor): forgotten.insert(donor)
            default: break
            }
        }
        var stored: [UserDigest: [EpisodeID: Episode]] = [:]
        for donor in donors {
            let digest = script.digest(donor)
            for episode in try await bank.episodes(of: digest) {
                stored[digest, default: [:]][episode.id] = episode.episode
            }
            if forgotten.contains(donor), stored[digest] != nil { fail("\(donor): forgotten, and episodes are left") }
        }
        let begun = Set(forgetting.map { script.digest($0) })
        for (place, id) in known {
            let episode = script.episodes[place]
            if begun.contains(episode.user) { continue }
            guard stored[episode.user]?[EpisodeID(id)] == episode else {
                fail("episode \(place) was stored, and is not there")
            }
        }
        let all = stored.values.flatMap(\.values)
        if Set(all).count != all.count || all.count != bank.episodeCount {
            fail("an episode is there twice, or not counted")
        }
        let gone = Set(forgotten.map { script.digest($0) })
        func checkSkills() {
            for skill in bank.skills where skill.donors.contains(where: gone.contains) {
                fail("skill \(skill.id) is made of a donor who was forgotten")
            }
        }
        checkSkills()
        // One that was killed goes on, and comes to its end.
        _ = try await bank.autoConsolidate(ConsolidationPolicy(), donors: script)
        checkSkills()
        return "\(bank.episodeCount) episodes, \(bank.skills.count) skills, \(gone.count) donors forgotten"
    }
}
