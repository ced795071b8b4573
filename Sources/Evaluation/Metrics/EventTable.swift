import TensorCore

/// The quality of one ranking, of one event or as a mean.
struct RankingQuality: Sendable, Equatable {
    /// The share of the other candidates that rank below the target, ties counting half.
    var auc = 0.0
    /// 1 / rank.
    var reciprocalRank = 0.0
    /// 1 / log2(1 + rank) when the rank is at most 10, else 0.
    var ndcg10 = 0.0
    /// 1 when the rank is at most 10, else 0.
    var hit10 = 0.0

    init() {}

    /// The measures of a target with `greater` candidates above it and `ties` others level with it. The rank counts
    /// from 1 and ties count half: rank = 1 + greater + ties / 2.
    ///
    /// - Parameter candidates: All candidates, the target included; at least 2.
    init(greater: Int, ties: Int, candidates: Int) {
        let above = Double(greater) + 0.5 * Double(ties)
        let rank = 1 + above
        auc = 1 - above / Double(candidates - 1)
        reciprocalRank = 1 / rank
        ndcg10 = rank <= 10 ? Elementary.log(2) / Elementary.log(1 + rank) : 0
        hit10 = rank <= 10 ? 1 : 0
    }

    static func += (left: inout RankingQuality, right: RankingQuality) {
        left.auc += right.auc
        left.reciprocalRank += right.reciprocalRank
        left.ndcg10 += right.ndcg10
        left.hit10 += right.hit10
    }

    func divided(by count: Double) -> RankingQuality {
        var result = self
        result.auc /= count
        result.reciprocalRank /= count
        result.ndcg10 /= count
        result.hit10 /= count
        return result
    }
}

/// One method's quality at every ranked event of every user, each averaged over the seeds.
///
/// User u's events are steps 1, 2, … (how many likes were known), at `offsets[u] ..< offsets[u + 1]`.
struct EventTable: Sendable {
    /// Where each user's events begin, and where the last user's end; shape `[users + 1]`.
    let offsets: [Int]
    /// The quality at each event.
    var quality: [RankingQuality]
    /// The expected AUC lost against the true ranking at each event; empty when the truth is unknown.
    var regret: [Double] = []

    init(eventsPerUser: [Int]) {
        var offsets = [0]
        for count in eventsPerUser { offsets.append((offsets.last ?? 0) + count) }
        self.offsets = offsets
        quality = Array(repeating: RankingQuality(), count: offsets.last ?? 0)
    }

    var userCount: Int { offsets.count - 1 }
    var eventCount: Int { quality.count }

    func events(of user: Int) -> Range<Int> { offsets[user]..<offsets[user + 1] }

    /// The mean over all events, each weighing the same.
    var mean: RankingQuality {
        var sum = RankingQuality()
        for event in quality { sum += event }
        return sum.divided(by: Double(max(eventCount, 1)))
    }
}
