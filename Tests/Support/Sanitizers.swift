#if canImport(Glibc)
    private import Glibc
#elseif canImport(Musl)
    private import Musl
#elseif canImport(Darwin)
    private import Darwin
#endif

/// What tests ask about the run that they are part of.
package enum TestRun {
    /// Whether the run is one of `scripts/check` under a sanitizer, many times slower than one without.
    package static let isSanitized: Bool = unsafe getenv("ATTUNE_SANITIZED") != nil
}

/// How often to repeat something, or how large to make it: `few` under a sanitizer.
///
/// A sanitizer looks at which memory is accessed and by which thread, not at what the numbers are: a tenth of the repetitions
/// reaches the same code, and the run without a sanitizer looks at the numbers in full.
package func underSanitizer<Value>(_ few: @autoclosure () -> Value, otherwise all: @autoclosure () -> Value) -> Value {
    TestRun.isSanitized ? few() : all()
}
