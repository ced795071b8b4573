internal import LoRA
package import Reasoning

// A bank's content without opening the bank: for looking, which need not read all episodes.

extension SQLiteStorage {
    /// What can be said of a project's bank at once.
    package struct BankOverview: Sendable {
        package var episodes = 0
        /// Whether there is a consolidation to go on with.
        package var isConsolidationInterrupted = false
    }

    package func bankOverview() async throws -> BankOverview {
        let project = projectRef
        return try await reading("bank") { connection in
            guard try Schema.knowsBank(connection) else { return BankOverview() }
            let episodes = try connection.integer(
                "SELECT count(*) FROM episodes WHERE project = ?", [.integer(project)])
            let run = try connection.integer("SELECT 1 FROM consolidations WHERE project = ?", [.integer(project)])
            return BankOverview(episodes: Int(episodes ?? 0), isConsolidationInterrupted: run != nil)
        }
    }

    /// Whether there are episodes or skills.
    package func hasBank() async throws -> Bool {
        let project = projectRef
        return try await reading("bank") { connection in
            guard try Schema.knowsBank(connection) else { return false }
            return try connection.integer("SELECT 1 FROM bank_kinds WHERE project = ? LIMIT 1", [.integer(project)])
                != nil
        }
    }

    /// A user's episodes, ascending by identifier.
    package func bankEpisodes(of user: UserDigest) async throws -> [StoredEpisode] {
        let (project, path) = (projectRef, path)
        return try await reading("episodes") { connection in
            guard try Schema.knowsBank(connection) else { return [] }
            let kinds = Dictionary(uniqueKeysWithValues: try connection.bankKinds(project).map { ($1, $0) })
            return try connection.episodes(of: user, project, kinds, path)
        }
    }

    /// Removes a user's episodes where the bank cannot be opened; says how many there were. What others have of the user stays.
    package func removeBankEpisodes(of user: UserDigest) async throws -> Int {
        let project = projectRef
        return try await writing("forget") { connection in
            guard try Schema.knowsBank(connection) else { return 0 }
            try connection.run(
                "DELETE FROM episodes WHERE project = ? AND user = ?", [.integer(project), .bytes(user.bytes)])
            return Int(connection.changes)
        }
    }

    /// Up to `limit` episodes that come after an identifier, ascending; fewer at the end.
    package func bankEpisodes(after id: EpisodeID, limit: Int) async throws -> [StoredEpisode] {
        let (project, path) = (projectRef, path)
        return try await reading("episodes") { connection in
            guard try Schema.knowsBank(connection) else { return [] }
            let kinds = Dictionary(uniqueKeysWithValues: try connection.bankKinds(project).map { ($1, $0) })
            return try connection.episodes(after: id, project, kinds, path, limit: limit)
        }
    }

    /// The skills, ascending by identifier.
    package func bankSkills() async throws -> [Skill] {
        let project = projectRef
        return try await reading("skills") { connection in
            guard try Schema.knowsBank(connection) else { return [] }
            return try connection.knowledge(project, try connection.bankKinds(project)).list
        }
    }

    /// What reading all of a project's bank showed.
    package struct BankVerification: Sendable {
        package var episodes = 0
        package var skills = 0
        /// What cannot be read: of episodes, skills and trials the first each; empty for a clean bank.
        package var faults: [String] = []
    }

    /// Reads every episode, skill, start and trial.
    ///
    /// - Throws: `CancellationError`. What cannot be read is a fault.
    package func verifyBank() async throws -> BankVerification {
        var result = BankVerification()
        func reading(_ body: () async throws -> Void) async throws {
            do { try await body() } catch let error as CancellationError { throw error } catch {
                result.faults.append("\(error)")
            }
        }
        let project = projectRef
        try await reading {
            result.skills = try await self.bankSkills().count
        }
        try await reading {
            try await self.reading("trials") { connection in
                guard try Schema.knowsBank(connection) else { return }
                try connection.verifyTrials(project)
            }
        }
        try await reading {
            var last = EpisodeID(0)
            var isMore = true
            while isMore {
                try Task.checkCancellation()
                let page = try await self.bankEpisodes(after: last, limit: SQLiteReasoningBank.pageOfEpisodes)
                result.episodes += page.count
                last = page.last?.id ?? last
                isMore = page.count == SQLiteReasoningBank.pageOfEpisodes
            }
        }
        return result
    }
}
