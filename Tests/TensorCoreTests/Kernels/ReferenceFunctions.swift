#if canImport(Glibc)
    import Glibc
#elseif canImport(Musl)
    import Musl
#else
    import Darwin
#endif

// libm's functions, to compare ours with.
func referenceExp(_ x: Double) -> Double { exp(x) }
func referenceLog1p(_ x: Double) -> Double { log1p(x) }
func referenceCosine(_ x: Double) -> Double { cos(x) }
func referencePower(_ x: Double, _ n: Double) -> Double { pow(x, n) }
