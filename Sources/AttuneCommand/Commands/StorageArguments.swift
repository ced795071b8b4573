import Attune

// What the commands on storage files share.

extension PositionalSpecification {
    static let storageFile = PositionalSpecification(
        name: "FILE", help: "A storage file (SQLite), as 'attune personalize --store' makes it.")
}

extension OptionSpecification {
    static let project = OptionSpecification.value(
        "project", "NAME", .name, default: "default", help: "The tenant whose users are meant.")

    static let user = OptionSpecification.value(
        "user", short: "u", "ID", .text("a user's id"), help: "The user's id.")
}

extension ParsedArguments {
    /// FILE.
    var storageFile: String {
        guard let file = positional("FILE") else { preconditionFailure("FILE isn't declared") }
        return file
    }

    /// The value of `--project`.
    var project: String {
        guard let project = text("project") else { preconditionFailure("--project isn't declared") }
        return project
    }

    /// The value of `--user`, which must be there.
    ///
    /// - Parameter purpose: What the user is needed for, to follow a colon.
    func user(_ purpose: String, for command: CommandSpecification) throws(UsageError) -> String {
        guard let user = text("user") else {
            throw UsageError("'--user' is missing: \(purpose).", command: command.name)
        }
        guard user.utf8.count <= 1024 else {
            throw UsageError(
                "'--user' has \(user.utf8.count) bytes; a user's id has at most 1024.", command: command.name)
        }
        return user
    }
}

/// Refuses a path where no file is, rather than making one there.
func requireFile(_ path: String) async throws {
    let storage = try await SQLiteStorage(path: path, access: .reading)
    await storage.close()
}

/// A storage of a project that is there: a mistyped one would be empty, and clean, and be made by writing.
///
/// - Throws: ``CommandFailure`` (`badData`) naming the projects that there are; ``StorageError``.
func existingProject(_ project: String, in path: String, access: SQLiteStorage.Access) async throws -> SQLiteStorage {
    let reading = try await SQLiteStorage(path: path, project: project, access: .reading)
    let projects = try await reading.projects()
    guard projects.contains(where: { Array($0.utf8) == Array(project.utf8) }) else {
        await reading.close()
        let some = projects.prefix(10).map(quoted).joined(separator: ", ")
        throw CommandFailure(
            .badData,
            "\(printable(path)) has no project \(quoted(project)); it has \(some)"
                + (projects.count > 10 ? " and \(projects.count - 10) more" : ""))
    }
    if access == .reading { return reading }
    await reading.close()
    return try await SQLiteStorage(path: path, project: project)
}

extension SQLiteStorage {
    /// What there is of a user who must be there.
    ///
    /// - Throws: ``CommandFailure`` (`badData`) saying whether the user is unknown or forgotten, and what to do.
    func existing(_ user: String) async throws -> UserRecord {
        if let record = try await record(of: user) { return record }
        if try await isForgotten(user) {
            throw CommandFailure(
                .badData, "the user \(quoted(user)) was forgotten: \(printable(path)) holds nothing of theirs")
        }
        throw CommandFailure(
            .badData,
            "\(printable(path)) has no user \(quoted(user)) in the project \(quoted(project)): 'attune users' lists those "
                + "that it has")
    }
}

/// A moment as `2026-11-27T09:04:12.000250Z`: ISO 8601, UTC, to the microsecond.
///
/// Days to dates as in Howard Hinnant's *chrono-compatible low-level date algorithms* (`civil_from_days`). Any number of
/// microseconds has a date; years beyond 9999 or before 0 get a sign.
func timestamp(microseconds: Int64) -> String {
    func split(_ value: Int64, _ unit: Int64) -> (whole: Int64, rest: Int64) {
        let rest = (value % unit + unit) % unit
        // Not value - rest: that may lie below the lowest number.
        return (value / unit - (value % unit < 0 ? 1 : 0), rest)
    }
    let (seconds, fraction) = split(microseconds, 1_000_000)
    let (days, second) = split(seconds, 86_400)
    let (era, dayOfEra) = split(days + 719_468, 146_097)
    let yearOfEra = (dayOfEra - dayOfEra / 1460 + dayOfEra / 36_524 - dayOfEra / 146_096) / 365
    let dayOfYear = dayOfEra - (365 * yearOfEra + yearOfEra / 4 - yearOfEra / 100)
    let shifted = (5 * dayOfYear + 2) / 153
    let day = dayOfYear - (153 * shifted + 2) / 5 + 1
    let month = shifted < 10 ? shifted + 3 : shifted - 9
    let year = yearOfEra + era * 400 + (month <= 2 ? 1 : 0)
    func digits(_ value: Int64, _ count: Int) -> String {
        let text = String(value.magnitude)
        return String(repeating: "0", count: max(0, count - text.count)) + text
    }
    let sign = year < 0 ? "-" : year > 9999 ? "+" : ""
    return "\(sign)\(digits(year, 4))-\(digits(month, 2))-\(digits(day, 2))T\(digits(second / 3600, 2)):"
        + "\(digits(second / 60 % 60, 2)):\(digits(second % 60, 2)).\(digits(fraction, 6))Z"
}
