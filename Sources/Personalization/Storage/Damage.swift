/// An error that can tell that what was kept of one user is damaged, which concerns nobody else.
package protocol TellingDamage: Error {
    var tellsDamage: Bool { get }
}

extension EngineError: TellingDamage {
    package var tellsDamage: Bool {
        code == .damagedAdapter || code == .damagedJournal || (cause as? any TellingDamage)?.tellsDamage == true
    }
}
