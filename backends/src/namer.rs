//! Identifiers of the languages that backends write.
//!
//! A name that a user chose is checked and never changed; names from a model are made identifiers, and made
//! different from one another by a number, in the order in which they are asked for.

use std::collections::BTreeSet;
use unfloat_ir::{Diagnostic, Location};

/// A target language.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Language {
    /// C++17; words that C++20 and C++23 took are avoided as well.
    Cpp,
    /// Verilog-2001; words that SystemVerilog took are avoided as well, since many tools read both.
    Verilog,
}

/// Keywords and alternative tokens of C++: ISO/IEC 14882:2017 [lex.key], and those that 14882:2020 added;
/// identifiers with special meaning are allowed.
const CPP: &str = "
    alignas alignof and and_eq asm auto bitand bitor bool break case catch char char16_t char32_t char8_t
    class co_await co_return co_yield compl concept const const_cast consteval constexpr constinit continue
    decltype default delete do double dynamic_cast else enum explicit export extern false float for friend
    goto if inline int long mutable namespace new noexcept not not_eq nullptr operator or or_eq private
    protected public register reinterpret_cast requires return short signed sizeof static static_assert
    static_cast struct switch template this thread_local throw true try typedef typeid typename union
    unsigned using virtual void volatile wchar_t while xor xor_eq
";
/// Names that the global namespace has already: the C library (ISO/IEC 9899:2011, 7), with what glibc 2.36 and
/// others add, that the headers which we include bring in.
const CPP_GLOBAL: &str = "
    abort abs acos acosf acosh acoshf acoshl acosl aligned_alloc asctime asin asinf asinh asinhf asinhl
    asinl at_quick_exit atan atan2 atan2f atan2l atanf atanh atanhf atanhl atanl atexit atof atoi atol atoll
    basename bcmp bcopy bsearch bzero calloc cbrt cbrtf cbrtl ceil ceilf ceill clearenv clearerr clock
    clock_t copysign copysignf copysignl cos cosf cosh coshf coshl cosl ctime difftime div div_t dprintf
    drand48 drem dremf dreml ecvt erand48 erf erfc erfcf erfcl erff erfl exit exp exp2 exp2f exp2l expf expl
    expm1 expm1f expm1l fabs fabsf fabsl fclose fcvt fdim fdimf fdiml fdopen feof ferror fflush ffs fgetc
    fgetpos fgets finite floor floorf floorl fma fmaf fmal fmax fmaxf fmaxl fmin fminf fminl fmod fmodf
    fmodl fopen fpclassify fprintf fputc fputs fread free freopen frexp frexpf frexpl fscanf fseek fsetpos
    ftell fwrite gamma gammaf gammal gcvt getchar getdate getenv getline gets getw gmtime hypot hypotf
    hypotl ilogb ilogbf ilogbl index initstate isalnum isalpha isblank iscntrl isdigit isfinite isgraph
    isgreater isinf isless islower isnan isnormal isprint ispunct isspace isunordered isupper isxdigit j0
    j0f j0l j1 j1f j1l jn jnf jnl jrand48 l64a labs lcong48 ldexp ldexpf ldexpl ldiv ldiv_t lgamma lgammaf
    lgammal llabs lldiv lldiv_t llrint llrintf llrintl llround llroundf llroundl localeconv localtime log
    log10 log10f log10l log1p log1pf log1pl log2 log2f log2l logb logbf logbl logf logl longjmp lrand48
    lrint lrintf lrintl lround lroundf lroundl main malloc mblen mbstowcs mbtowc memccpy memchr memcmp
    memcpy memmem memmove mempcpy memset mkdtemp mkstemp mktemp mktime modf modff modfl mrand48 nan nanf
    nanl nearbyint nearbyintf nearbyintl nextafter nextafterf nextafterl nexttoward nexttowardf nexttowardl
    nrand48 on_exit open_memstream pclose perror popen posix pow powf powl printf ptrdiff_t putchar putenv
    puts putw qsort quick_exit raise rand random rawmemchr realloc reallocarray realpath remainder
    remainderf remainderl remove remquo remquof remquol rename renameat rewind rindex rint rintf rintl round
    roundf roundl rpmatch scalb scalbf scalbl scalbln scalblnf scalblnl scalbn scalbnf scalbnl scanf
    secure_getenv seed48 setbuf setbuffer setenv setlinebuf setlocale setstate setvbuf signal signbit
    significand sin sincos sincosf sincosl sinf sinh sinhf sinhl sinl size_t snprintf sprintf sqrt sqrtf
    sqrtl srand srand48 srandom sscanf std stime stpcpy stpncpy strcasecmp strcat strchr strchrnul strcmp
    strcoll strcpy strcspn strdup strerror strfry strftime strlen strncasecmp strncat strncmp strncpy
    strndup strnlen strpbrk strptime strrchr strsep strsignal strspn strstr strtod strtof strtok strtol
    strtold strtoll strtoul strtoull strxfrm swab system tan tanf tanh tanhf tanhl tanl tempnam tgamma
    tgammaf tgammal time time_t timegm tmpfile tmpnam tolower toupper trunc truncf truncl tzset ungetc
    unsetenv vfprintf vprintf vsprintf wait wcstombs wctomb y0 y0f y0l y1 y1f y1l yn ynf ynl
";
/// Macros among them, and those that compilers predefine: no scope can take these. Names from a model that are all
/// capitals are written small, so that they meet no macro, whatever else the user includes.
const CPP_MACROS: &str = "
    BIG_ENDIAN BUFSIZ BYTE_ORDER CHAR_BIT CHAR_MAX CHAR_MIN CLOCKS_PER_SEC EDOM EILSEQ EOF ERANGE EXIT_FAILURE
    EXIT_SUCCESS FILENAME_MAX FOPEN_MAX FP_NAN FP_NORMAL FP_ZERO HUGE_VAL HUGE_VALF HUGE_VALL INFINITY INT_MAX
    INT_MIN LITTLE_ENDIAN LONG_MAX LONG_MIN MAXFLOAT M_E M_PI NAN NULL PTRDIFF_MAX PTRDIFF_MIN RAND_MAX SEEK_CUR
    SEEK_END SEEK_SET SIZE_MAX SNAN UINT_MAX alloca assert daylight environ errno getc i386 isascii linux math_errhandling offsetof putc setjmp
    signgam stderr stdin stdout timezone toascii tzname unix va_list
";

/// Keywords of Verilog: IEEE 1364-2005, annex B; and of SystemVerilog: IEEE 1800-2017, annex B.
const VERILOG: &str = "
    accept_on alias always always_comb always_ff always_latch and assert assign assume automatic before
    begin bind bins binsof bit break buf bufif0 bufif1 byte case casex casez cell chandle checker class
    clocking cmos config const constraint context continue cover covergroup coverpoint cross deassign
    default defparam design disable dist do edge else end endcase endchecker endclass endclocking endconfig
    endfunction endgenerate endgroup endinterface endmodule endpackage endprimitive endprogram endproperty
    endsequence endspecify endtable endtask enum event eventually expect export extends extern final
    first_match for force foreach forever fork forkjoin function generate genvar global highz0 highz1 if iff
    ifnone ignore_bins illegal_bins implements implies import incdir include initial inout input inside
    instance int integer interconnect interface intersect join join_any join_none large let liblist library
    local localparam logic longint macromodule matches medium modport module nand negedge nettype new
    nexttime nmos nor noshowcancelled not notif0 notif1 null or output package packed parameter pmos posedge
    primitive priority program property protected pull0 pull1 pulldown pullup pulsestyle_ondetect
    pulsestyle_onevent pure rand randc randcase randsequence rcmos real realtime ref reg reject_on release
    repeat restrict return rnmos rpmos rtran rtranif0 rtranif1 s_always s_eventually s_nexttime s_until
    s_until_with scalared sequence shortint shortreal showcancelled signed small soft solve specify
    specparam static string strong strong0 strong1 struct super supply0 supply1 sync_accept_on
    sync_reject_on table tagged task this throughout time timeprecision timeunit tran tranif0 tranif1 tri
    tri0 tri1 triand trior trireg type typedef union unique unique0 unsigned until until_with untyped use
    uwire var vectored virtual void wait wait_order wand weak weak0 weak1 while wildcard wire with within
    wor xnor xor
";

/// Whether a table has that word.
fn has(table: &str, word: &str) -> bool {
    table.split_ascii_whitespace().any(|w| w == word)
}

impl Language {
    fn name(self) -> &'static str {
        match self {
            Language::Cpp => "C++",
            Language::Verilog => "Verilog",
        }
    }
    fn is_keyword(self, name: &str) -> bool {
        match self {
            Language::Cpp => has(CPP, name),
            Language::Verilog => has(VERILOG, name),
        }
    }
    /// Why `name` cannot stand in any scope; nothing when it can.
    fn fault_anywhere(self, name: &str) -> Option<String> {
        let language = self.name();
        if self.is_keyword(name) {
            return Some(format!("is a keyword of {language}"));
        }
        if self == Language::Cpp {
            if name.starts_with('_') || name.contains("__") {
                return Some(
                    "is reserved in C++: it begins with an underscore or has two in a row".to_string(),
                );
            }
            if has(CPP_MACROS, name) {
                return Some("is a macro of the C++ standard library or of compilers".to_string());
            }
        }
        None
    }
    /// Why `name` cannot stand in the outermost scope; nothing when it can.
    fn fault(self, name: &str) -> Option<String> {
        self.fault_anywhere(name).or_else(|| {
            let taken = self == Language::Cpp && has(CPP_GLOBAL, name);
            taken.then(|| "is taken by the C++ standard library".to_string())
        })
    }
}

/// The longest name that is taken; compilers and file systems have limits of their own.
const LONGEST: usize = 100;

/// Checks a name that a user gave to a model, for all the languages that it will stand in.
pub fn check(name: &str, languages: &[Language]) -> Result<(), Diagnostic> {
    let fault = if name.is_empty() {
        Some("is empty".to_string())
    } else if name.len() > LONGEST {
        Some(format!("is longer than {LONGEST} characters"))
    } else if let Some(c) = name.chars().find(|c| !c.is_ascii_alphanumeric() && *c != '_') {
        Some(format!("is no identifier: it has `{c}`"))
    } else if name.starts_with(|c: char| c.is_ascii_digit()) {
        Some("is no identifier: it begins with a digit".to_string())
    } else {
        languages.iter().find_map(|l| l.fault(name))
    };
    match fault {
        None => Ok(()),
        Some(fault) => Err(Diagnostic::error(Location::default(), format!("the name `{name}` {fault}"))
            .help(format!("use letters, digits and single underscores, such as `{}`", sanitize(name)))),
    }
}

/// The identifier that is nearest to `text`, good for every language: what a model is called when the user
/// does not say.
pub fn sanitize(text: &str) -> String {
    let mut name = plain(text);
    if name.is_empty() {
        name.push_str("model");
    }
    if name.starts_with(|c: char| c.is_ascii_digit()) {
        name.insert_str(0, "model_");
    }
    if [Language::Cpp, Language::Verilog].iter().any(|l| l.fault(&name).is_some()) {
        name.push_str("_model");
    }
    name
}

/// Letters, digits and single underscores, none at either end.
fn plain(text: &str) -> String {
    let mut name = String::new();
    for c in text.chars() {
        if c.is_ascii_alphanumeric() {
            name.push(c);
        } else if !name.is_empty() && !name.ends_with('_') {
            name.push('_');
        }
        // Room for what may be put in front and behind.
        if name.len() + 20 > LONGEST {
            break;
        }
    }
    name.truncate(name.trim_end_matches('_').len());
    name
}

/// Hands out identifiers of one inner scope, no two of them alike.
pub struct Namer {
    language: Language,
    taken: BTreeSet<String>,
}

impl Namer {
    /// A scope in which `reserved` is taken.
    pub fn new(language: Language, reserved: &[&str]) -> Self {
        Self { language, taken: reserved.iter().map(|r| r.to_string()).collect() }
    }

    /// An identifier like `wanted` that was not handed out before. The same questions in the same order get the
    /// same answers.
    pub fn fresh(&mut self, wanted: &str) -> String {
        let mut base = plain(wanted);
        if base.is_empty() || base.starts_with(|c: char| c.is_ascii_digit()) {
            base.insert(0, 'v');
        }
        let shouted = !base.contains(|c: char| c.is_ascii_lowercase()) || base.starts_with("M_");
        if self.language == Language::Cpp && shouted {
            base.make_ascii_lowercase();
        }
        let free = |name: &String| !self.taken.contains(name) && self.language.fault_anywhere(name).is_none();
        let name = std::iter::once(base.clone())
            .chain((2u32..).map(|n| format!("{base}_{n}")))
            .find(free)
            .unwrap_or(base);
        self.taken.insert(name.clone());
        name
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOTH: &[Language] = &[Language::Cpp, Language::Verilog];

    #[test]
    fn tables_are_sorted_and_have_no_word_twice() {
        for table in [CPP, CPP_GLOBAL, CPP_MACROS, VERILOG] {
            let words: Vec<&str> = table.split_ascii_whitespace().collect();
            assert!(words.is_sorted_by(|a, b| a < b), "{:?}", words.windows(2).find(|w| w[0] >= w[1]));
        }
    }

    #[test]
    fn bad_names_are_refused_with_the_reason() {
        for (name, why) in [
            ("", "empty"),
            ("2fast", "digit"),
            ("a-b", "`-`"),
            ("größe", "`ö`"),
            ("class", "keyword of C++"),
            ("wire", "keyword of Verilog"),
            ("a__b", "reserved"),
            ("_a", "reserved"),
            ("exp", "standard library"),
            ("linux", "compilers"),
        ] {
            let text = check(name, BOTH).unwrap_err().to_string();
            assert!(text.contains(why), "{name}: {text}");
        }
        assert!(check("cifar10_cnn", BOTH).is_ok());
        assert!(check("wire", &[Language::Cpp]).is_ok());
        assert!(check(&"a".repeat(101), BOTH).is_err());
    }

    #[test]
    fn default_names_are_always_good() {
        for (text, name) in [
            ("my model (2)", "my_model_2"),
            ("", "model"),
            ("3d", "model_3d"),
            ("exp", "exp_model"),
            ("wire", "wire_model"),
            ("__a__b__", "a_b"),
            ("モデル", "model"),
        ] {
            assert_eq!(sanitize(text), name);
            assert!(check(name, BOTH).is_ok());
        }
        assert!(check(&sanitize(&"x".repeat(300)), BOTH).is_ok());
    }

    #[test]
    fn clashes_get_numbers_in_order() {
        let mut namer = Namer::new(Language::Cpp, &["in"]);
        let names = ["conv.1", "conv/1", "conv_1", "in", "class", "1x", ""].map(|n| namer.fresh(n));
        assert_eq!(names, ["conv_1", "conv_1_2", "conv_1_3", "in_2", "class_2", "v1x", "v"]);
    }

    #[test]
    fn no_name_from_a_model_is_a_macro() {
        let mut namer = Namer::new(Language::Cpp, &[]);
        let names = ["NULL", "EOF", "M_PIf", "FC1", "fc1", "BlockA", "errno"].map(|n| namer.fresh(n));
        assert_eq!(names, ["null", "eof", "m_pif", "fc1", "fc1_2", "BlockA", "errno_2"]);
        assert!(check("NULL", BOTH).unwrap_err().to_string().contains("macro"));
        assert!(check("CNN", BOTH).is_ok());
    }
}
