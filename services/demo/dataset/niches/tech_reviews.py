"""Tech: a gadget reviewer, a maker of audio and desk gear, a repair shop."""

from __future__ import annotations

from services.demo.dataset.banks import lines, words
from services.demo.dataset.niches.world import Group, World

CREATOR = World(
    names=words("Circuit & Coffee|Pixel Lantern|The Spare Charger|Mila Unboxed|Second Screen Sam|Bench Notes"),
    taglines=lines("""
        Honest gadget reviews, weeks after the hype.
        I buy it, break it in and tell you if it lasts.
        Calm tech reviews for people with a budget.
    """),
    tags=words("#techreview|#unboxing|#gadgets|#techtok|#setup"),
    groups=(
        Group(
            ref="phone",
            names=(words("Kestrin|Aurelo|Vantro|Ollin"), words("S4|Fold Mini|Air 7|One Lite|M9 Pro|Edge 3")),
            aspects=words("battery life|main camera|screen|night mode|charging speed|haptic feedback|size"),
            titles=lines("""
                {name} review: two weeks later
                I used the {name} as my only phone for a month
                {name} camera test in terrible light
                Is the {name} still worth it?
                {name}: the good, the bad and the weird
                Living with the {name} without a case
                What nobody tells you about the {name}
            """),
        ),
        Group(
            ref="headset",
            names=(words("Halvorn|Aurelo|Driftline|Sonara"), words("Hush Pro|Loop 2|Arc Mini|Studio One|Fly 5")),
            aspects=words("noise cancelling|bass|microphone|fit|charging case|companion app|comfort"),
            titles=lines("""
                {name} on a ten-hour train ride
                {name} review: I did not expect this
                {name} mic test at a loud crossing
                The {name} after 200 hours
                {name} vs. the pair I paid double for
                Why I returned the {name} twice
            """),
        ),
        Group(
            ref="laptop",
            names=(words("Vantro|Quillon|Ostra|Kestrin"), words("Book 14|Slate X|Creator 16|Feather|Base 13")),
            aspects=words("keyboard|trackpad|fan noise test|hinge|display|battery life|port selection"),
            titles=lines("""
                {name}: a real work week
                Can the {name} edit 4K? Let's find out
                I gave the {name} to a student for a month
                {name} teardown: can you upgrade it?
                The {name} is almost perfect
                {name} long-term review
            """),
        ),
        Group(
            ref="smart home gadget",
            names=(words("Hearthly|Nimbra|Domiko"), words("Hub 2|Door Cam|Light Bar|Air Sensor|Robot V3|Mini Lock")),
            aspects=words("setup|app|motion detection|privacy section|automation demo|price breakdown"),
            titles=lines("""
                {name}: smart home without the headache?
                My flat with the {name} for 60 days
                {name} setup in eleven minutes
                5 things the {name} does badly
                {name}: does it work offline?
            """),
        ),
    ),
    praise=lines("""
        Ordered the {name} halfway through the video.
        You just saved me from buying the wrong {ref}.
        The only {name} review where someone tested it in real life.
        Love that you show the {ref} after weeks and not after one hour.
        Had the {name} for {span} now and everything you said is accurate.
        Clear, short, no drama. That's how a {ref} should be reviewed.
        The comparison chart made picking a {ref} so easy.
        {who_cap} asked me about the {name} and I just sent this link.
        Appreciate that you mention what the {name} can't do.
        You explain a {ref} better than the shop staff ever did.
        That slow zoom on the {name} was cinema.
        I came for the {name} and stayed for the cat in the background.
    """),
    gripe=lines("""
        You skipped the part where the {name} gets really hot.
        My {name} died after {span}, so I can't agree with this at all.
        Half of this is b-roll, I still don't know if the {name} is any good.
        Feels like an ad for the {name}, sorry.
        You never tested the {name} with older devices.
        Audio was so low I had to guess what you said about the {ref}.
        Wrong specs for the {name} at the start, please correct them.
        Bought the {name} because of you and sent it back after {span}.
        Way too expensive for a {ref} and you hardly mention it.
    """),
    ask=lines("""
        Does the {name} work with a normal USB-C charger?
        How does the {name} compare with last year's model?
        Would you still buy the {name} after {span}?
        Is the {name} okay for someone like {who}, who only needs the basics?
        Which colour of the {name} is that in the thumbnail?
        Any sign of a cheaper {ref} with the same features?
        Can you repair the {name} yourself?
        Did the last update change anything on the {name}?
        What microphone are you using in this one?
    """),
    note=lines("""
        Watching this on a {ref} from eight years ago.
        My wallet would like you to stop talking about the {name}.
        I'm waiting for the next {ref} before I decide.
        The {name} costs 40 more where I live, for what it's worth.
        For anyone wondering, the {name} part starts around minute four.
        Still using mine with a cracked corner, no plans to upgrade.
        The {ref} chapter is where the popcorn comes out.
    """),
)

BRAND = World(
    names=words("Halvorn Audio|Nimbra|Driftline Gear|Ostra Works|Kabelo & Sons|Lumikko"),
    taglines=lines("""
        Everyday tech, built to be repaired.
        Sound and desk gear for people who notice.
        Small team, good cables, two-year warranty.
    """),
    tags=words("#desksetup|#audio|#newgear|#behindthescenes|#workspace"),
    groups=(
        Group(
            ref="headset",
            names=(words("Loop|Hush|Arc|Drift"), words("Mini|Pro|2|Studio|Air")),
            aspects=words("sound|noise cancelling|battery life|fit|charging case|packaging|microphone"),
            titles=lines("""
                Meet the {name}
                The {name} is back in stock
                How we tuned the {name}
                {name} in three new colours
                Inside the {name}: a teardown by our engineers
                You asked, we listened: {name} firmware 2.1
            """),
        ),
        Group(
            ref="charger",
            names=(words("Volt|Ember|Stack|Pocket"), words("65|100|Duo|Dock|Slim")),
            aspects=words("charging speed|cable|size|plug|build quality|status light|heat management"),
            titles=lines("""
                One charger, whole desk: {name}
                {name}: what fits in your pocket now
                Why the {name} stays cool
                {name} giveaway: tell us about your cable drawer
                Travel light with the {name}
            """),
        ),
        Group(
            ref="desk lamp",
            names=(words("Glow|Halo|Beam|Dusk"), words("Bar|One|Tilt|XL|Clip")),
            aspects=words("light colour|dimmer|clamp|finish|app|cable length|stand"),
            titles=lines("""
                {name}: softer light for late shifts
                Desk tour with the {name}
                {name}, now with a longer cable
                From sketch to desk: making the {name}
                Your setups with the {name}, part one
            """),
        ),
    ),
    praise=lines("""
        Using the {name} every single day for {span} now, not one problem.
        Best {ref} I've owned and I've been through a few.
        The {name} feels much more expensive than it is.
        Bought a second {name} for {who}.
        The {name} replaced three things on my desk.
        Setup of the {name} took about two minutes.
        Didn't think I'd get excited about a {ref}, but here we are.
        The {name} survived my backpack, my kids and one cup of tea.
        My desk finally looks grown up thanks to the {name}.
        Finally a {ref} I don't have to think about.
    """),
    gripe=lines("""
        My {name} stopped working after {span}.
        The {name} I got had scratches straight out of the box.
        The {name} gets uncomfortably warm.
        Second {name} in a row with the same fault.
        The {name} disconnects every few minutes.
        For this price I expected a better {ref}.
        The photos of the {name} look nothing like what I received.
        The {name} makes a faint buzzing sound that drives me mad.
    """),
    ask=lines("""
        When will the {name} be back in black?
        Does the {name} come with a cable in the box?
        Is the {name} compatible with older laptops?
        Do you ship the {name} to Norway?
        How long is the warranty on the {name}?
        Can I buy spare parts for the {name}?
        What's the difference between this {ref} and the one from last year?
        Is there a student discount on the {name}?
    """),
    note=lines("""
        Waiting for payday to order the {name}.
        My cat already claimed the box of the {name}.
        Saw the {name} on a friend's desk, looks smaller in real life.
        I'd go for the {name} in green if that ever happens.
        Have the older {ref}, still going, so no rush.
    """),
)

LOCAL = World(
    names=words("Fixpoint Repairs|The Screen Room|Ohm Street Repair|Second Life Devices|Bytes on Linden"),
    taglines=lines("""
        Phones, laptops and consoles repaired while you wait.
        Your neighbourhood repair bench since 2014.
        No fix, no fee. Ask us anything.
    """),
    tags=words("#repair|#righttorepair|#shoplocal|#beforeandafter|#fixit"),
    groups=(
        Group(
            ref="repair",
            names=(
                words("phone|tablet|laptop|console"),
                words("screen replacement|battery swap|water damage repair|charging port repair|diagnosis"),
            ),
            aspects=words("price|turnaround|communication|quality of the part|warranty|explanation at the counter"),
            titles=lines("""
                {name}: done in an hour this week
                Before and after: {name}
                {name} special until Saturday
                What a {name} really costs
                Five signs you need a {name}
                On the bench today: {name}
            """),
        ),
        Group(
            ref="service",
            names=(
                words("same-day|student|weekend|business|express"),
                words("data rescue|PC clean-up|Wi-Fi setup|backup check|trade-in"),
            ),
            aspects=words("advice|booking|price|patience|follow-up call|speed"),
            titles=lines("""
                New at the counter: {name}
                {name}, now also on Saturdays
                How our {name} works
                Bring your laptop: {name} this Thursday
                {name}: three questions we hear every day
            """),
        ),
    ),
    praise=lines("""
        Came in for a {name} and walked out forty minutes later.
        They told me honestly that I didn't need the expensive {ref}.
        My photos are back, I nearly cried in the shop.
        The {name} cost less than the quote.
        {staff} explained the {name} without making me feel stupid.
        Two other shops had given up, the {name} here worked first time.
        Works like new after the {name}.
        Fixed a thing I hadn't even asked about along with the {name}, free of charge.
        Third {ref} here for our family, always fair.
    """),
    gripe=lines("""
        Same fault came back {span} after the {name}.
        Was told the {name} takes a day, it took nine.
        The price for the {name} went up after I'd handed my device over.
        Nobody called me about the {name}, I had to chase them.
        Got my device back with a new scratch after the {name}.
        Had to come back three times for one {ref}.
        They wiped my data during the {name} without asking.
    """),
    ask=lines("""
        Do I need an appointment for the {name}?
        How long does the {name} take for an older model?
        Roughly what does a {name} cost?
        Is there a warranty on the {name}?
        Are you open on Saturday for a {name}?
        Can I wait in the shop during the {name}?
        Do you keep my data safe during the {name}?
    """),
    note=lines("""
        Dropped mine again, see you on {day}.
        Walked past today, long queue for the {name}.
        My toddler would like to be your best customer.
        I need a {name} at some point but I'm scared of the answer.
        Good to know you do a {name}, thought it was phones only.
    """),
    place="shop",
)
