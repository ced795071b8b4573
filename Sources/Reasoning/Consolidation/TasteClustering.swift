internal import TensorCore

/// Groups of directions that lie close together, as many as the data show; one when they show no structure.
///
/// 1. Split: all directions are one group. Each group is split in two by the best of ``starts`` runs of spherical
///    2-means, if the mean silhouette of the two is at least ``leastSilhouette(_:)`` and both have the least number of
///    members; and so on with the parts.
/// 2. Refine: k-means around the middles of what was found, so that members which an early split cut off find their
///    group.
/// 3. Merge: two groups whose union would not be split that way are one.
///
/// Splitting in two finds small groups beside large ones, which one silhouette over all groups overlooks.
///
/// **Sources.** Steinbach, Karypis & Kumar 2000, *A comparison of document clustering techniques*, §4 (bisecting
/// k-means); Arthur & Vassilvitskii 2007, *k-means++*, §2.2; Dhillon & Modha 2001, *Concept decompositions*, §3;
/// Rousseeuw 1987, *Silhouettes*, J. Comput. Appl. Math. 20, §2.
enum TasteClustering {
    static let mostGroups = 12
    static let starts = 12
    /// The groups are found on so many directions, the first ones; all are then assigned to the nearest.
    static let sample = 4096

    /// The mean silhouette that two parts of n directions must have to be two groups: 0.13 + 0.8 / √n.
    ///
    /// Measured in 64 dimensions with parts of at least 5, by a program of its own: the best split of n random directions
    /// stays below half of it (40 runs for each n from 10 to 200), that of one group with noise of 0.8 of its middle's length
    /// too. Groups around random middles come apart until the noise is about as long as the middle: with 3 × 20, 5 × 12
    /// and 100 + 20 + 8 members 36 of 36 runs gave the exact number at 0.8 of its length, 29 at 1.0 and 22 at 1.2.
    static func leastSilhouette(_ n: Int) -> Double { 0.13 + 0.8 / Double(n).squareRoot() }

    /// The members of each group, as ascending indices; groups in the order of their first members.
    ///
    /// - Parameters:
    ///   - directions: Each `[64]` of length 1.
    ///   - seed: Of the splits' starts. The same directions in the same order give the same groups.
    ///   - leastMembers: The fewest members that a split may leave in a part.
    ///   - sample: How many directions the groups are found on.
    /// - Throws: `CancellationError`.
    /// - Complexity: O(n) for n directions, with a factor of up to 64 · 12 · 12 · 25 for the first 4,096 of them.
    static func groups(
        of directions: [[Float]], seed: UInt64, leastMembers: Int, sample: Int = Self.sample
    ) async throws -> [[Int]] {
        guard !directions.isEmpty else { return [] }
        let all = Directions(Array(directions.prefix(sample)))
        var generator = PhiloxGenerator(seed: seed, purpose: .sampling)
        var open = [Array(0..<all.count)]
        var groups: [[Int]] = []
        while let group = open.popLast() {
            let isRoom = open.count + groups.count + 2 <= mostGroups
            if isRoom, let parts = try await split(group, of: all, leastMembers, &generator) {
                open += parts
            } else {
                groups.append(group)
            }
        }
        guard groups.count > 1 else { return [Array(directions.indices)] }
        groups = members(all.grouped(around: groups.map { middle(of: $0.map { all[$0] }) }), count: groups.count)
        groups = merged(groups, of: all)
        guard directions.count > all.count, groups.count > 1 else {
            return groups.count > 1 ? groups.sorted { $0[0] < $1[0] } : [Array(directions.indices)]
        }
        let centres = groups.map { middle(of: $0.map { all[$0] }) }
        return members(Directions(directions).nearest(centres), count: centres.count).sorted { $0[0] < $1[0] }
    }

    /// The indices of each group that has any, ascending.
    private static func members(_ assignment: [Int], count: Int) -> [[Int]] {
        var members = [[Int]](repeating: [], count: count)
        for (i, j) in assignment.enumerated() { members[j].append(i) }
        return members.filter { !$0.isEmpty }
    }

    /// The two parts of a group; `nil` when it is one.
    private static func split(
        _ group: [Int], of all: Directions, _ leastMembers: Int, _ generator: inout PhiloxGenerator
    ) async throws -> [[Int]]? {
        guard group.count >= 2 * leastMembers else { return nil }
        let points = all.picked(group)
        var best = (silhouette: leastSilhouette(group.count), isSecond: [Bool]())
        for _ in 0..<starts {
            try Task.checkCancellation()
            await Task.yield()
            guard let centres = points.twoCentres(&generator) else { return nil }
            let isSecond = points.grouped(around: centres).map { $0 == 1 }
            let second = isSecond.count { $0 }
            guard min(second, group.count - second) >= leastMembers else { continue }
            let silhouette = points.silhouette(isSecond)
            if silhouette > best.silhouette { best = (silhouette, isSecond) }
        }
        guard !best.isSecond.isEmpty else { return nil }
        let parts = zip(group, best.isSecond)
        return [parts.filter { !$0.1 }.map(\.0), parts.filter(\.1).map(\.0)]
    }

    /// Joins the two groups that are least two, as long as there are such.
    private static func merged(_ groups: [[Int]], of all: Directions) -> [[Int]] {
        var groups = groups
        while groups.count > 1 {
            var worst: (margin: Double, left: Int, right: Int)?
            for right in 1..<groups.count {
                for left in 0..<right {
                    let points = all.picked(groups[left] + groups[right])
                    let isSecond = (0..<points.count).map { $0 >= groups[left].count }
                    let margin = points.silhouette(isSecond) - leastSilhouette(points.count)
                    if margin < worst?.margin ?? 0 { worst = (margin, left, right) }
                }
            }
            guard let worst else { break }
            groups[worst.left] = (groups[worst.left] + groups[worst.right]).sorted()
            groups.remove(at: worst.right)
        }
        return groups
    }
}
