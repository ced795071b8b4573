/// What only some adapters have, apart from them: an adapter under plain SGD takes no room for it. Part of a value: whoever
/// changes it owns the only reference, or a copy.
final class AdapterExtras: @unchecked Sendable {
    var start: WarmStart?
    var optimizerState: OptimizerState?
    var protection: ProtectionState?
    var plateau: PlateauState?

    init(_ other: AdapterExtras? = nil) {
        start = other?.start
        optimizerState = other?.optimizerState
        protection = other?.protection
        plateau = other?.plateau
    }
}

extension LoRAAdapter {
    /// What the adapter started from, shared with others; `nil` for a cold start.
    package var start: WarmStart? {
        get { extras?.start }
        set { if newValue != nil || extras != nil { ownExtras().start = newValue } }
    }
    package var plateau: PlateauState? {
        get { extras?.plateau }
        set { if newValue != nil || extras != nil { ownExtras().plateau = newValue } }
    }
    package var optimizerState: OptimizerState? {
        get { extras?.optimizerState }
        _modify {
            if extras != nil {
                yield &ownExtras().optimizerState
            } else {
                var made: OptimizerState?
                yield &made
                if made != nil { ownExtras().optimizerState = made }
            }
        }
    }
    package var protection: ProtectionState? {
        get { extras?.protection }
        _modify {
            if extras != nil {
                yield &ownExtras().protection
            } else {
                var made: ProtectionState?
                yield &made
                if made != nil { ownExtras().protection = made }
            }
        }
    }

    /// The extras, this value's own. Accessors that lend a part of them take memory for it, so an update goes this way.
    mutating func ownExtras() -> AdapterExtras {
        // No binding before the question: it would be a second reference.
        if extras == nil || !isKnownUniquelyReferenced(&extras) { extras = AdapterExtras(extras) }
        return extras!
    }
}
