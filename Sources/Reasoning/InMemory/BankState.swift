/// All that an ``InMemoryReasoningBank`` holds, behind its lock.
struct BankState: Sendable {
    private struct Place {
        var id: EpisodeID
        var kind: AdapterKind
    }

    let capacity: Int
    private(set) var kinds: [AdapterKind: KindState] = [:]
    private(set) var episodes: [EpisodeID: Episode] = [:]
    /// What tells a user's episodes apart. The time too: a user whose adapter was removed begins again with version 1.
    private struct Name: Hashable {
        var version: UInt64
        var recordedAt: Timestamp

        init(_ episode: Episode) {
            version = episode.version
            recordedAt = episode.recordedAt
        }
    }

    /// Each user's episodes.
    private var places: [UserDigest: [Name: Place]] = [:]
    private(set) var evicted = 0
    private var nextEpisode: UInt64 = 1
    var knowledge = SkillShelf()
    private let plan: GraphPlan
    var lookups = LookupCounts()

    init(capacity: Int, plan: GraphPlan = GraphPlan()) {
        self.capacity = capacity
        self.plan = plan
    }

    /// The number of episodes.
    var count: Int { episodes.count }

    /// The number of users with episodes.
    var users: Int { places.count }

    /// Appends an episode, unless it is there; the oldest goes when there are too many.
    mutating func store(_ episode: Episode) -> EpisodeID {
        if let known = places[episode.user]?[Name(episode)] { return known.id }
        let id = EpisodeID(nextEpisode)
        nextEpisode += 1
        let kind = AdapterKind(episode.context)
        places[episode.user, default: [:]][Name(episode)] = Place(id: id, kind: kind)
        episodes[id] = episode
        kinds[kind, default: KindState(plan)].append(id, episode)
        if count > capacity, let oldest {
            remove(oldest.id, of: oldest.kind)
            evicted += 1
        }
        return id
    }

    /// Whether graphs of a kind wait for work.
    func isIndexingDue(for kind: AdapterKind) -> Bool { kinds[kind]?.index.isIndexingDue ?? false }

    /// Works on graphs for about a quarter of a millisecond; says whether more is left.
    mutating func indexMore() -> Bool { kinds.indexMore() }

    /// The oldest episode. Names only: with a second reference to its kind's state, removing it would copy all of that.
    private var oldest: Place? {
        var oldest: Place?
        for (kind, state) in kinds {
            guard let id = state.index.oldest, id < oldest?.id ?? EpisodeID(.max) else { continue }
            oldest = Place(id: id, kind: kind)
        }
        return oldest
    }

    private mutating func remove(_ id: EpisodeID, of kind: AdapterKind) {
        guard let episode = episodes.removeValue(forKey: id) else { return }
        kinds[kind]?.remove(id, episode)
        if kinds[kind]?.index.count == 0 { kinds[kind] = nil }
        places[episode.user]?[Name(episode)] = nil
        if places[episode.user]?.isEmpty == true { places[episode.user] = nil }
    }

    /// Removes all episodes of a user and returns their number.
    mutating func removeEpisodes(of user: UserDigest) -> Int {
        let held = places[user] ?? [:]
        for place in held.values { remove(place.id, of: place.kind) }
        return held.count
    }

    /// A user's episodes, ascending by identifier.
    func episodes(of user: UserDigest) -> [StoredEpisode] {
        (places[user] ?? [:]).values.sorted { $0.id < $1.id }.compactMap { place in
            episodes[place.id].map { StoredEpisode(id: place.id, episode: $0) }
        }
    }

    /// Up to `limit` episodes of a kind that come after `id`, ascending; none at the end.
    func episodes(of kind: AdapterKind, after id: EpisodeID, limit: Int) -> [StoredEpisode] {
        (kinds[kind]?.index.next(after: id, limit: limit) ?? []).compactMap { id in
            episodes[id].map { StoredEpisode(id: id, episode: $0) }
        }
    }
}
