/// What one method did for each user: sums over the user's ranked events.
///
/// All measures of an evaluation follow from these, also later and against another evaluation of the same users.
public struct UserRecords: Sendable, Hashable {
    /// The sums of the share of other candidates below the next like, `[users]`.
    public var auc: [Double]
    /// The sums of 1 / rank, `[users]`.
    public var mrr: [Double]
    /// The sums of NDCG at 10, `[users]`.
    public var ndcg10: [Double]
    /// How often the next like was among the first ten, `[users]`.
    public var hit10: [Double]
    /// The sums of the AUC lost against the true ranking, `[users]`; `nil` where that is not known.
    public var regret: [Double]?
    /// The AUC gained over no adapter at each of a user's events, `[users][events]`.
    public var gains: [[Double]]

    /// Records.
    public init(
        auc: [Double], mrr: [Double], ndcg10: [Double], hit10: [Double], regret: [Double]?, gains: [[Double]]
    ) {
        self.auc = auc
        self.mrr = mrr
        self.ndcg10 = ndcg10
        self.hit10 = hit10
        self.regret = regret
        self.gains = gains
    }

    /// - Parameter none: The same events without an adapter.
    init(_ table: EventTable, over none: EventTable) {
        let users = 0..<table.userCount
        func sums(_ value: (RankingQuality) -> Double) -> [Double] {
            users.map { user in table.events(of: user).reduce(0.0) { $0 + value(table.quality[$1]) } }
        }
        auc = sums(\.auc)
        mrr = sums(\.reciprocalRank)
        ndcg10 = sums(\.ndcg10)
        hit10 = sums(\.hit10)
        regret =
            table.regret.isEmpty ? nil : users.map { table.events(of: $0).reduce(0.0) { $0 + table.regret[$1] } }
        gains = users.map { user in table.events(of: user).map { table.quality[$0].auc - none.quality[$0].auc } }
    }

    /// The sums of a measure, `[users]`; zeros where it is not known.
    func sums(_ measure: PairedMeasures.EventMeasure) -> [Double] {
        switch measure {
        case .auc: auc
        case .reciprocalRank: mrr
        case .ndcg10: ndcg10
        case .hit10: hit10
        case .regret: regret ?? Array(repeating: 0, count: auc.count)
        }
    }

    /// Whether a user's mean AUC is below that without an adapter. Rounding alone must not make a user worse off.
    func isWorse(_ user: Int, than none: UserRecords, events: Int) -> Bool {
        (auc[user] - none.auc[user]) / Double(max(events, 1)) < -1e-12
    }
}
