/// What only some adapters have, apart from them: an adapter under plain SGD takes no room for it. Part of a value: whoever
/// changes it owns the only reference, or a copy.
///
/// `@safe` and with a pointer because the parts are lent from one place, ``lend(_:)``, by owners that are checked for exclusive
/// access themselves; a class's stored properties would be checked again each time, which takes longer than a small step.
@safe
final class AdapterExtras: @unchecked Sendable {
    struct Contents {
        var start: WarmStart?
        var optimizerState: OptimizerState?
        var protection: ProtectionState?
        var plateau: PlateauState?
        var experts: Experts?
    }

    fileprivate let contents: UnsafeMutablePointer<Contents>

    init(_ other: AdapterExtras? = nil) {
        unsafe contents = .allocate(capacity: 1)
        unsafe contents.initialize(to: other?.contents.pointee ?? Contents())
    }

    deinit {
        unsafe contents.deinitialize(count: 1)
        unsafe contents.deallocate()
    }

    // Read by any number of threads at once, as values that share them are.
    var start: WarmStart? { unsafe contents.pointee.start }
    var optimizerState: OptimizerState? { unsafe contents.pointee.optimizerState }
    var optimizerKind: OptimizerState.Kind? { unsafe contents.pointee.optimizerState?.kind }
    var hasProvenMoments: Bool { unsafe contents.pointee.optimizerState?.hasProvenMoments ?? true }
    var protection: ProtectionState? { unsafe contents.pointee.protection }
    var isProtected: Bool { unsafe contents.pointee.protection != nil }
    var plateau: PlateauState? { unsafe contents.pointee.plateau }
    var experts: Experts? { unsafe contents.pointee.experts }
    var isMixing: Bool { unsafe contents.pointee.experts?.isMixing ?? false }

    /// Lends everything to whoever owns the only reference. Nobody asks again inside.
    @inline(__always)
    func lend<R>(_ body: (inout Contents) -> R) -> R { unsafe body(&contents.pointee) }
}

extension LoRAAdapter {
    /// What the adapter started from, shared with others; `nil` for a cold start.
    package var start: WarmStart? {
        get { extras?.start }
        set { if newValue != nil || extras != nil { lendExtras { $0.start = newValue } } }
    }
    package var plateau: PlateauState? {
        get { extras?.plateau }
        set { if newValue != nil || extras != nil { lendExtras { $0.plateau = newValue } } }
    }
    package var optimizerState: OptimizerState? {
        get { extras?.optimizerState }
        _modify {
            if extras != nil {
                makeExtrasUnique()
                yield unsafe &extras!.contents.pointee.optimizerState
            } else {
                var made: OptimizerState?
                yield &made
                if made != nil { lendExtras { $0.optimizerState = made } }
            }
        }
    }
    package var protection: ProtectionState? {
        get { extras?.protection }
        _modify {
            if extras != nil {
                makeExtrasUnique()
                yield unsafe &extras!.contents.pointee.protection
            } else {
                var made: ProtectionState?
                yield &made
                if made != nil { lendExtras { $0.protection = made } }
            }
        }
    }

    private mutating func makeExtrasUnique() {
        // No binding before the question: it would be a second reference.
        if extras == nil || !isKnownUniquelyReferenced(&extras) { extras = AdapterExtras(extras) }
    }

    /// Lends the extras, this value's own. Accessors that lend a part of them take memory for it, so an update goes this way.
    @inline(__always)
    mutating func lendExtras<R>(_ body: (inout AdapterExtras.Contents) -> R) -> R {
        makeExtrasUnique()
        return unsafe Unmanaged.passUnretained(extras!)._withUnsafeGuaranteedRef { $0.lend(body) }
    }
}
