//! `keys!`, with which the table of keys is written.

/// Makes `Config`, a struct with its defaults for each section, and `KEYS` from entries
/// `field as "key": Type = default, rule, Reload;`. Without `as`, key and field have one name.
macro_rules! keys {
    (@name $field:ident) => { stringify!($field) };
    (@name $field:ident $name:literal) => { $name };
    ($(
        $(#[doc = $about_section:literal])*
        $section:ident: $Section:ident {
            $(
                $(#[doc = $about:literal])*
                $field:ident $(as $name:literal)?:
                    $Type:ty = $default:expr, $rule:expr, $reload:ident;
            )*
        }
    )*) => {
        /// All settings, checked.
        #[derive(Clone, Debug, Default, PartialEq)]
        pub struct Config {
            $( $(#[doc = $about_section])* pub $section: $Section, )*
        }

        $(
            $(#[doc = $about_section])*
            #[derive(Clone, Debug, PartialEq)]
            pub struct $Section {
                $( $(#[doc = $about])* pub $field: $Type, )*
            }

            impl Default for $Section {
                fn default() -> Self {
                    Self { $( $field: $default, )* }
                }
            }
        )*

        /// Every key, in the order of the manual and of `wschat config`.
        pub const KEYS: &[Key] = &[$($({
            fn rule() -> Rule<$Type> {
                $rule
            }
            Key {
                name: concat!(stringify!($section), ".", keys!(@name $field $($name)?)),
                section: stringify!($section),
                leaf: keys!(@name $field $($name)?),
                about: concat!($($about, "\n"),*),
                reload: Reload::$reload,
                allowed: || rule().allowed,
                read: |config, value, report| {
                    if let Some(value) = (rule().read)(value, report) {
                        config.$section.$field = value;
                    }
                },
                show: |config| (rule().show)(&config.$section.$field),
                is_same: |one, two| one.$section.$field == two.$section.$field,
            }
        },)*)*];
    };
}

pub(super) use keys;
